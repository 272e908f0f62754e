"""`slipstream bench`: measure speed, alone or beside llama.cpp."""

import contextlib
import dataclasses
import itertools
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slipstream.apps.cli.console import put, put_json, say
from slipstream.apps.cli.shared_options import DEFAULT_MODEL, json_option
from slipstream.offload.table import aligned

if TYPE_CHECKING:
    from slipstream.apps.bench.ceilings import Ceilings
    from slipstream.apps.bench.curves import VerifyingSide
    from slipstream.apps.bench.report import ModelResult
    from slipstream.apps.bench.speed import Workload


@click.command("bench", short_help="Measure speed, also beside llama.cpp.")
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@click.option(
    "--against",
    type=click.Choice(["llama.cpp"]),
    help="Measure this too, in turns, with the same file, prompts and threads.",
)
@click.option(
    "--prefill",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Tokens of each prompt.",
)
@click.option(
    "--decode",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="N",
    help="Tokens decoded after the first.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="N",
    help="Runs that count, after one that warms up.",
)
@click.option("--threads", type=int, metavar="N", help="[default: one a core]")
@click.option(
    "--kv",
    type=click.Choice(["f16", "q8_0"]),
    default="f16",
    show_default=True,
    help="How keys and values are stored, on both sides.",
)
@click.option(
    "--depth",
    "depths",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Decode after N tokens of context too; may be given repeatedly.",
)
@click.option(
    "--curves", is_flag=True, help="Forwards of 1 to 16 rows with all logits, prompts of 1 to 512."
)
@click.option(
    "--cold", is_flag=True, help="Load to first token and peak memory, in processes of their own."
)
@json_option
def bench_command(
    models: tuple[str, ...],
    against: str | None,
    prefill: int,
    decode: int,
    repeat: int,
    threads: int | None,
    kv: str,
    depths: tuple[int, ...],
    curves: bool,
    cold: bool,
    as_json: bool,
) -> None:
    """Measure prefill and decode speed of MODELs: medians, lowest and highest.

    llama.cpp is measured through llama-cpp-python (`pip install 'slipstream[llamacpp]'`) with keys
    and values stored as here. Close other programs first.
    """
    from slipstream.runtime.backends import load_backend

    load_backend()  # says what is wrong with its environment, before anything imports a kernel
    from slipstream.apps.bench.ceilings import Ceilings
    from slipstream.apps.bench.curves import PREFILL_SIZES, curve_rows
    from slipstream.apps.bench.report import cold_rows, report, rows
    from slipstream.apps.bench.speed import Workload
    from slipstream.offload.bandwidth import measured_read_bandwidth
    from slipstream.offload.machine import default_threads, probe
    from slipstream.runtime.catalogue import resolve
    from slipstream.runtime.options import Options

    Options(threads=threads)  # this and the names are checked before anything is measured
    paths = {model: resolve(model) for model in models or (DEFAULT_MODEL,)}
    machine = probe()
    threads = threads or default_threads(machine)
    bandwidth = measured_read_bandwidth(threads, machine=machine, again=True)
    machine = dataclasses.replace(machine, read_gb_per_s=bandwidth)
    workload = Workload(
        prefill_tokens=prefill,
        decode_tokens=decode,
        repeats=repeat,
        threads=threads,
        kv=kv,
        deepest=max((*depths, *(PREFILL_SIZES if curves else ())), default=0),
    )
    # Threads beyond the machine's are refused when a model is loaded.
    ceilings = Ceilings.measure(bandwidth, min(threads, machine.logical_cores))
    scope = Scope(against=against, depths=depths, curves=curves, cold=cold)
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
        command = shlex.join(["slipstream", *sys.argv[1:]])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        put_json(report(results, workload, machine, ceilings, command=command, measured_at=now))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is measured beside prefill and decode."""

    against: str | None
    depths: tuple[int, ...]
    curves: bool
    cold: bool


def bench_model(
    model: str, path: Path, workload: "Workload", scope: Scope, ceilings: "Ceilings"
) -> "ModelResult":
    """Load one model on each side, measure, and let go of it."""
    from slipstream.apps.bench.ceilings import Shares
    from slipstream.apps.bench.cold_start import measure_cold_starts
    from slipstream.apps.bench.curves import measure_curves
    from slipstream.apps.bench.llama_cpp_side import LlamaCppSide
    from slipstream.apps.bench.report import summarise
    from slipstream.apps.bench.slipstream_side import SlipstreamSide
    from slipstream.apps.bench.speed import measure, random_prompts
    from slipstream.apps.cli.progress import LoadProgress

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


def announce(model: str, side: str, what: int | str) -> None:
    """Say on a terminal what is being measured: a run's number, 0 to warm up, or a text."""
    if sys.stderr is not None and sys.stderr.isatty():
        text = what if isinstance(what, str) else f"run {what}" if what else "warming up"
        say(f"{model}: {side}, {text}")
