"""`slipstream train-draft`: train a Dovetail draft for a model."""

import importlib.util
from pathlib import Path

import click

from slipstream.apps.cli.console import put, say
from slipstream.runtime.errors import OptionError

_PATH = click.Path(path_type=Path)


@click.command("train-draft", short_help="Train a draft that makes a model faster.")
@click.argument("model")
@click.option(
    "--text",
    "texts",
    type=_PATH,
    multiple=True,
    required=True,
    metavar="FILE",
    help="UTF-8 text, documents in it apart by the character 1E; may be given repeatedly.",
)
@click.option(
    "--out",
    "folder",
    type=_PATH,
    required=True,
    metavar="DIR",
    help="Where features, checkpoints, the draft and its card go.",
)
@click.option(
    "--blocks",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    metavar="N",
    help="Transformer blocks of the draft, 1 to 5.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Steps of the optimiser.",
)
@click.option(
    "--tokens",
    type=click.IntRange(64),
    default=4096,
    show_default=True,
    metavar="N",
    help="Tokens of a step.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1e-6, 1.0),
    default=1e-3,
    show_default=True,
    metavar="X",
    help="Highest learning rate.",
)
@click.option(
    "--window",
    type=click.IntRange(32, 4096),
    default=512,
    show_default=True,
    metavar="N",
    help="Tokens of a piece of text, and how far back the draft will see.",
)
@click.option(
    "--head-tokens",
    type=click.IntRange(64),
    default=8192,
    show_default=True,
    metavar="N",
    help="Tokens that the draft can guess, the most frequent ones.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Threads that compute. [default: one a core]",
)
def train_draft_command(
    model: str,
    texts: tuple[Path, ...],
    folder: Path,
    blocks: int,
    steps: int,
    tokens: int,
    rate: float,
    window: int,
    head_tokens: int,
    threads: int | None,
) -> None:
    """Train a Dovetail draft for MODEL, best on text that MODEL wrote itself.

    Stopped, the same command goes on. What it writes is given to other commands as --draft. Needs
    torch: pip install 'slipstream[train]'.
    """
    if importlib.util.find_spec("torch") is None:
        raise OptionError(
            "train-draft needs torch, which is not installed: pip install 'slipstream[train]'"
        )
    import shlex
    import sys

    import torch

    from slipstream.apps.cli.loading import open_model
    from slipstream.runtime.dovetail.training.optimisation import Recipe
    from slipstream.runtime.dovetail.training.train import train_draft
    from slipstream.runtime.options import Options

    if threads is not None:
        torch.set_num_threads(threads)
    said = ["", -1]

    def told(stage: str, done: int, total: int, more: str) -> None:
        percent = 100 * done // total
        if [stage, percent] != said:
            said[:] = [stage, percent]
            say(f"{stage}: {done:,} of {total:,} {more}".rstrip())

    with open_model(model, Options(threads=threads, speculate="off")) as llm:
        trained = train_draft(
            llm,
            texts,
            folder,
            blocks=blocks,
            window=window,
            head_tokens=head_tokens,
            recipe=Recipe(steps=steps, tokens=tokens, rate=rate),
            command=shlex.join(["slipstream", *sys.argv[1:]]),
            told=told,
        )
    shares = ", ".join(f"{share:.0%}" for share in trained.acceptance)
    put(f"{trained.path}\nright on held-out text, depth 1 to {len(trained.acceptance)}: {shares}\n")
