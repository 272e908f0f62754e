"""`slipstream bench`: measure speed, alone or beside llama.cpp."""

import contextlib
import dataclasses
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slipstream.apps.cli.console import aligned, put, put_json, say
from slipstream.apps.cli.shared_options import DEFAULT_MODEL, json_option

if TYPE_CHECKING:
    from slipstream.apps.bench.report import ModelResult
    from slipstream.apps.bench.speed import Side, Workload

__all__ = ["bench_command"]


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
@json_option
def bench_command(
    models: tuple[str, ...],
    against: str | None,
    prefill: int,
    decode: int,
    repeat: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure prefill and decode speed of MODELs: medians, lowest and highest.

    llama.cpp is measured through llama-cpp-python (`pip install 'slipstream[llamacpp]'`) with
    float16 keys and values, as here. Close other programs first.
    """
    from slipstream.apps.bench.report import report, rows
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
        prefill_tokens=prefill, decode_tokens=decode, repeats=repeat, threads=threads
    )
    results = []
    for model, path in paths.items():
        results.append(bench_model(model, path, workload, against))
        if not as_json:
            put("\n".join(aligned(rows(results[-1]))) + "\n")
    if as_json:
        command = shlex.join(["slipstream", *sys.argv[1:]])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        put_json(report(results, workload, machine, command=command, measured_at=now))


def bench_model(model: str, path: Path, workload: "Workload", against: str | None) -> "ModelResult":
    """Load one model on each side, measure, and let go of it."""
    from slipstream.apps.bench.llama_cpp_side import LlamaCppSide
    from slipstream.apps.bench.report import summarise
    from slipstream.apps.bench.slipstream_side import SlipstreamSide
    from slipstream.apps.bench.speed import measure, random_prompts
    from slipstream.apps.cli.progress import LoadProgress

    with contextlib.ExitStack() as stack:
        sides: list[Side] = []
        if against is not None:  # first, since it may be missing
            sides.append(LlamaCppSide(path, workload))
            stack.callback(sides[-1].close)
        with LoadProgress() as progress:
            ours = SlipstreamSide(path, workload, progress)
        stack.callback(ours.close)
        sides.insert(0, ours)
        prompts = random_prompts(ours.llm.tokenizer, workload.prefill_tokens, workload.repeats + 1)
        runs = measure(sides, prompts, workload, lambda side, run: announce(model, side, run))
    return summarise(model, path, sides, runs)


def announce(model: str, side: str, run: int) -> None:
    """Say on a terminal what is being measured."""
    if sys.stderr is not None and sys.stderr.isatty():
        say(f"{model}: {side}, " + (f"run {run}" if run else "warming up"))
