"""`slipstream train-draft`: train a Dovetail draft for a model."""

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from slipstream.apps.cli.console import put, say
from slipstream.apps.training.recipe import Recipe
from slipstream.runtime.errors import OptionError

_PATH = click.Path(path_type=Path)
_DEFAULTS = Recipe()


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
    default=_DEFAULTS.blocks,
    show_default=True,
    metavar="N",
    help="Transformer blocks of the draft, 1 to 5.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=_DEFAULTS.steps,
    show_default=True,
    metavar="N",
    help="Steps of the optimiser.",
)
@click.option(
    "--batch-tokens",
    type=click.IntRange(64),
    default=_DEFAULTS.batch_tokens,
    show_default=True,
    metavar="N",
    help="Tokens of a step.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(1e-6, 1.0),
    default=_DEFAULTS.learning_rate,
    show_default=True,
    metavar="X",
    help="The highest; it rises to it and falls again.",
)
@click.option(
    "--window",
    type=click.IntRange(32, 4096),
    default=_DEFAULTS.window,
    show_default=True,
    metavar="N",
    help="Tokens of a piece of text, and how far back the draft will see.",
)
@click.option(
    "--head-tokens",
    type=click.IntRange(64),
    default=_DEFAULTS.head_tokens,
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
    model: str, texts: tuple[Path, ...], folder: Path, threads: int | None, **recipe: Any
) -> None:
    """Train a Dovetail draft for MODEL, best on text that MODEL wrote itself.

    Stopped, the same command goes on. What it writes is given to other commands as --draft. Needs
    torch: pip install 'slipstream[train]'.
    """
    if importlib.util.find_spec("torch") is None:
        raise OptionError(
            "train-draft needs torch, which is not installed: pip install 'slipstream[train]'"
        )
    import torch

    from slipstream.apps.cli.loading import open_model
    from slipstream.apps.training.train import train_draft
    from slipstream.runtime.options import Options

    if threads is not None:
        torch.set_num_threads(threads)
    with open_model(model, Options(threads=threads, speculate="off")) as llm:
        trained = train_draft(
            llm,
            texts,
            folder,
            recipe=Recipe(**recipe),
            command=shlex.join(["slipstream", *sys.argv[1:]]),
            progress=_ProgressLines(),
        )
    shares = ", ".join(f"{share:.0%}" for share in trained.acceptance)
    put(f"{trained.path}\nright on held-out text, depth 1 to {len(trained.acceptance)}: {shares}\n")


class _ProgressLines:
    """A line for each percent of a stage."""

    def __init__(self) -> None:
        self._said = ("", -1)

    def __call__(self, stage: str, done: int, total: int, more: str) -> None:
        now = (stage, 100 * done // total)
        if now != self._said:
            self._said = now
            say(f"{stage}: {done:,} of {total:,} {more}".rstrip())
