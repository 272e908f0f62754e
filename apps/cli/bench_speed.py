"""Prefill and decode speed of models, measured and shown."""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipstream.apps.bench.ceilings import Ceilings, Shares
from slipstream.apps.bench.cold_start import measure_cold_starts
from slipstream.apps.bench.curves import (
    PREFILL_SIZES,
    VerifyingSide,
    curve_rows,
    measure_curves,
)
from slipstream.apps.bench.llama_cpp_side import LlamaCppSide
from slipstream.apps.bench.report import ModelResult, cold_rows, report, rows, summarise
from slipstream.apps.bench.slipstream_side import SlipstreamSide
from slipstream.apps.bench.speed import measure, random_prompts
from slipstream.apps.bench.surroundings import measured_machine
from slipstream.apps.bench.workload import Workload
from slipstream.apps.cli.bench_console import announce, circumstances
from slipstream.apps.cli.console import put, put_json
from slipstream.apps.cli.progress import LoadProgress
from slipstream.offload.table import aligned


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is measured beside prefill and decode."""

    against: str | None
    depths: tuple[int, ...]
    curves: bool
    cold: bool

    @property
    def deepest(self) -> int:
        """Tokens of context that it needs."""
        return max((*self.depths, *(PREFILL_SIZES if self.curves else ())), default=0)


def bench_speed(
    paths: Mapping[str, Path],
    scope: Scope,
    *,
    threads: int | None,
    as_json: bool,
    **workload_options: Any,
) -> None:
    """Measure models and print tables, or one object at the end.

    workload_options : of `Workload`
    """
    machine, threads = measured_machine(threads)
    workload = Workload(threads=threads, deepest=scope.deepest, **workload_options)
    assert machine.read_gb_per_s is not None  # measured now
    # Threads beyond the machine's are refused when a model is loaded.
    ceilings = Ceilings.measure(machine.read_gb_per_s, min(threads, machine.logical_cores))
    results = []
    for model, path in paths.items():
        result = bench_model(model, path, workload, scope, ceilings)
        results.append(result)
        if not as_json:
            put("\n".join(aligned(rows(result))) + "\n")
            if result.curves:
                put("\n".join(aligned(curve_rows(model, result.curves))) + "\n")
            if result.cold_starts:
                put("\n".join(aligned(cold_rows(result.cold_starts))) + "\n")
    if as_json:
        put_json(report(results, workload, machine, ceilings, **circumstances()))


def bench_model(
    model: str, path: Path, workload: Workload, scope: Scope, ceilings: Ceilings
) -> ModelResult:
    """Load one model on each side, measure, and let go of it."""
    with contextlib.ExitStack() as stack:
        sides: list[VerifyingSide] = []
        if scope.against is not None:  # first, since it may be missing
            sides.append(LlamaCppSide(path, workload))
            stack.callback(sides[-1].close)
        with LoadProgress() as progress:
            ours = SlipstreamSide(path, workload, progress)
        stack.callback(ours.close)
        sides.insert(0, ours)
        tokenizer = ours.llm.tokenizer
        prompts = random_prompts(tokenizer, workload.prefill_tokens, workload.repeats + 1)
        runs = measure(sides, prompts, workload, lambda side, run: announce(model, side, run))
        result = summarise(model, path, sides, runs)
        medians = result.sides[ours.name]
        shares = Shares.of(
            ceilings,
            prefill_tok_per_s=medians.prefill_tok_per_s.median,
            decode_tok_per_s=medians.decode_tok_per_s.median,
            path=path,
            read_bytes_per_token=ours.llm.plan.footprint.read_bytes_per_token,
        )
        curves = None
        if scope.curves or scope.depths:
            seeds = itertools.count(1)
            curves = measure_curves(
                sides,
                lambda length: random_prompts(tokenizer, length, 1, seed=next(seeds))[0],
                sizes=scope.curves,
                depths=scope.depths,
                decode_tokens=workload.decode_tokens,
                repeats=workload.repeats,
                announce=lambda side, what: announce(model, side, what),
            )
    names = [side.name for side in sides]
    cold = measure_cold_starts(names, path, workload, workload.repeats) if scope.cold else None
    return dataclasses.replace(result, curves=curves, cold_starts=cold, shares=shares)
