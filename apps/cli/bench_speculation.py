"""Answers with and without drafts, measured and shown."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from slipstream.apps.bench.prompt_files import Prompt, read_prompts
from slipstream.apps.bench.prompt_tokens import encode_prompts
from slipstream.apps.bench.speculation import measure_answers
from slipstream.apps.bench.speculation_report import (
    SpeculationResult,
    SpeculationWorkload,
    speculation_report,
    speculation_rows,
    summarise,
)
from slipstream.apps.bench.speculation_sides import open_sides
from slipstream.apps.bench.speed import Workload
from slipstream.apps.bench.surroundings import measured_machine
from slipstream.apps.cli.bench_console import announce, circumstances
from slipstream.apps.cli.console import put, put_json
from slipstream.apps.cli.progress import LoadProgress
from slipstream.offload.table import aligned
from slipstream.runtime.errors import OptionError
from slipstream.runtime.speculation import drafter_names


def bench_speculation(
    paths: Mapping[str, Path],
    files: Sequence[Path],
    *,
    limit: int | None,
    decode_tokens: int,
    drafters: tuple[str, ...],
    threads: int | None,
    kv: str,
    against_llama_cpp: bool,
    as_json: bool,
) -> None:
    """Measure models and print tables, or one object at the end. Raises OptionError."""
    for names in drafters:
        if not drafter_names(names):
            raise OptionError(f"drafters: {names!r} names none, and that is measured anyway")
    prompts = read_prompts(files, limit)
    machine, threads = measured_machine(threads)
    workload = SpeculationWorkload(
        files=tuple(file.name for file in files),
        limit=limit,
        decode_tokens=decode_tokens,
        drafters=drafters,
        threads=threads,
        kv=kv,
    )
    results = []
    for model, path in paths.items():
        result = bench_model(model, path, prompts, workload, against_llama_cpp=against_llama_cpp)
        results.append(result)
        if not as_json:
            put("\n".join(aligned(speculation_rows(result))) + "\n")
    if as_json:
        put_json(speculation_report(results, workload, machine, **circumstances()))


def bench_model(
    model: str,
    path: Path,
    prompts: Sequence[Prompt],
    workload: SpeculationWorkload,
    *,
    against_llama_cpp: bool,
) -> SpeculationResult:
    """Load one model on each side, measure, and let go of it."""
    encoded = encode_prompts(path, prompts, workload.decode_tokens)
    room = Workload(
        prefill_tokens=encoded.longest,
        decode_tokens=workload.decode_tokens,
        threads=workload.threads,
        kv=workload.kv,
    )

    def tell(number: int) -> None:
        if number:
            count = f"prompt {number} of {len(prompts)}"
            announce(model, prompts[number - 1].category, count)
        else:
            announce(model, "all sides", number)

    with ExitStack() as stack:
        with LoadProgress() as progress:
            opening = open_sides(
                path,
                room,
                workload.drafters,
                encoded.end_ids,
                against_llama_cpp=against_llama_cpp,
                progress=progress,
            )
            sides = stack.enter_context(opening)
        answers = measure_answers(sides, encoded, workload.decode_tokens, tell)
    return summarise(model, path, sides, answers, encoded.categories)
