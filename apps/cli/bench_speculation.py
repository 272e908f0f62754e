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
from slipstream.apps.bench.surroundings import measured_machine
from slipstream.apps.bench.workload import Workload
from slipstream.apps.cli.bench_console import announce, circumstances
from slipstream.apps.cli.console import put, put_json
from slipstream.apps.cli.progress import LoadProgress
from slipstream.offload.table import aligned
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.errors import OptionError
from slipstream.runtime.options import Options
from slipstream.runtime.speculation import MODEL, drafter_names, drafter_of


def bench_speculation(
    paths: Mapping[str, Path],
    files: Sequence[Path],
    *,
    limit: int | None,
    decode_tokens: int,
    drafters: tuple[str, ...],
    threads: int | None,
    kv: str,
    draft: str | None,
    lookup_tokens: int | None,
    as_json: bool,
) -> None:
    """Measure models and print tables, or one object at the end.

    Raises OptionError, and CatalogueError for a draft that is not on this machine.
    """
    _check_drafters(drafters, draft)
    prompts = read_prompts(files, limit)
    machine, threads = measured_machine(threads)
    workload = SpeculationWorkload(
        files=tuple(file.name for file in files),
        limit=limit,
        decode_tokens=decode_tokens,
        drafters=drafters,
        draft=draft,
        lookup_tokens=lookup_tokens,
        threads=threads,
        kv=kv,
    )
    results = []
    for model, path in paths.items():
        result = bench_model(model, path, prompts, workload)
        results.append(result)
        if not as_json:
            put("\n".join(aligned(speculation_rows(result))) + "\n")
    if as_json:
        put_json(speculation_report(results, workload, machine, **circumstances()))


def _check_drafters(drafters: Sequence[str], draft: str | None) -> None:
    """Before anything is loaded; each of `drafters` is measured with the draft if it has a use."""
    for names in drafters:
        if not drafter_names(names):
            raise OptionError(f"drafters: {names!r} names none, and that is measured anyway")
    user = MODEL if draft is None else drafter_of(draft)
    using = [names for names in drafters if user in drafter_names(names)]
    for names in using or drafters[:1]:
        Options(speculate=names, draft=draft)
    if draft not in (None, "auto"):
        resolve(draft)


def bench_model(
    model: str, path: Path, prompts: Sequence[Prompt], workload: SpeculationWorkload
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
                draft=workload.draft,
                lookup_tokens=workload.lookup_tokens,
                progress=progress,
            )
            sides = stack.enter_context(opening)
        answers = measure_answers(sides, encoded, workload.decode_tokens, tell)
    return summarise(model, path, sides, answers, encoded.categories)
