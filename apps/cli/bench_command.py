"""`slipstream bench`: measure speed, alone or beside llama.cpp."""

from pathlib import Path

import click
from click.core import ParameterSource

from slipstream.apps.cli.shared_options import DEFAULT_MODEL, json_option

_DECODE, _ANSWER = 64, 200  # tokens, of random prompts and of answers
_OF_SPEED_ALONE = ("prefill", "repeat", "depths", "curves", "cold")
_OF_SPECULATION_ALONE = ("drafters", "draft", "limit", "lookup")


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
    metavar="N",
    help=f"Tokens decoded after the first.  [default: {_DECODE}; {_ANSWER} with --speculate]",
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
    type=click.Choice(["f16", "q8_0", "q4_0"]),
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
@click.option(
    "--speculate",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Measure answers with and without drafts instead: to the prompts of a JSONL file as "
    "HumanEval's or Spec-Bench's; may be given repeatedly.",
)
@click.option(
    "--drafters",
    multiple=True,
    default=("auto",),
    metavar="TEXT",
    help="With --speculate: auto, or drafters joined by +; may be given repeatedly to compare.  "
    "[default: auto]",
)
@click.option(
    "--draft",
    metavar="MODEL",
    help="With --speculate: a smaller model of the same family, or a file of train-draft, for the "
    "drafters that use it.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="With --speculate: the first N prompts of each category.  [default: all]",
)
@click.option(
    "--lookup",
    type=click.IntRange(1),
    default=2,  # llama-cpp-python's own is 10 and it recommends 2 for CPUs
    show_default=True,
    metavar="N",
    help="With --speculate: tokens of a draft by llama.cpp's prompt lookup.",
)
@json_option
@click.pass_context
def bench_command(
    context: click.Context,
    models: tuple[str, ...],
    against: str | None,
    prefill: int,
    decode: int | None,
    repeat: int,
    threads: int | None,
    kv: str,
    depths: tuple[int, ...],
    curves: bool,
    cold: bool,
    files: tuple[Path, ...],
    drafters: tuple[str, ...],
    draft: str | None,
    limit: int | None,
    lookup: int,
    as_json: bool,
) -> None:
    """Measure prefill and decode speed of MODELs: medians, lowest and highest.

    llama.cpp is measured through llama-cpp-python (`pip install 'slipstream[llamacpp]'`) with keys
    and values stored as here. Close other programs first.

    With --speculate, prompts are answered greedily and in turns: without drafts, with those of each
    --drafters, and with --against also by llama.cpp without drafts, with its prompt lookup, and
    with the draft model if there is one.
    """
    _refuse_useless_options(context, speculating=bool(files))
    from slipstream.runtime.backends import load_backend

    load_backend()  # says what is wrong with its environment, before anything imports a kernel
    from slipstream.apps.cli.bench_speculation import bench_speculation
    from slipstream.apps.cli.bench_speed import Scope, bench_speed
    from slipstream.runtime.catalogue import resolve
    from slipstream.runtime.options import Options

    Options(threads=threads)  # this and the names are checked before anything is measured
    paths = {model: resolve(model) for model in models or (DEFAULT_MODEL,)}
    if files:
        bench_speculation(
            paths,
            files,
            limit=limit,
            decode_tokens=decode or _ANSWER,
            drafters=tuple(dict.fromkeys(drafters)),
            draft=draft,
            threads=threads,
            kv=kv,
            lookup_tokens=None if against is None else lookup,
            as_json=as_json,
        )
        return
    bench_speed(
        paths,
        Scope(against=against, depths=depths, curves=curves, cold=cold),
        prefill_tokens=prefill,
        decode_tokens=decode or _DECODE,
        repeats=repeat,
        threads=threads,
        kv=kv,
        as_json=as_json,
    )


def _refuse_useless_options(context: click.Context, *, speculating: bool) -> None:
    """Raises UsageError for an option that would change nothing."""
    for parameter in context.command.params:
        if context.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE:
            continue
        if speculating and parameter.name in _OF_SPEED_ALONE:
            raise click.UsageError(f"{parameter.opts[0]} has no effect with --speculate.", context)
        if not speculating and parameter.name in _OF_SPECULATION_ALONE:
            raise click.UsageError(f"{parameter.opts[0]} needs --speculate FILE.", context)
        if parameter.name == "lookup" and context.params["against"] is None:
            raise click.UsageError("--lookup needs --against llama.cpp.", context)
