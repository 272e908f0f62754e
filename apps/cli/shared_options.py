"""Options that several commands have."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from slipstream.offload.units import parse_bytes

Command = TypeVar("Command", bound=Callable[..., Any])


class Bytes(click.ParamType[int]):
    """A size such as 3GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


# Not imported from the catalogue, which takes 0.1 s: --help should not wait. Tests compare them.
DEFAULT_MODEL = "smollm2-135m"

model_option = click.option(
    "--model",
    "-m",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="MODEL",
    help="Catalogue name, path of a GGUF file, or hf:org/repo:file.gguf.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
)

stats_option = click.option(
    "--stats", is_flag=True, help="Print times and predicted beside actual speed afterwards."
)

_LOAD_OPTIONS = (
    click.option(
        "--threads", type=int, metavar="N", help="Threads that compute. [default: one a core]"
    ),
    click.option(
        "--context",
        type=int,
        metavar="N",
        help="Tokens for prompt and answer together. [default: what the model has, if it fits]",
    ),
    click.option(
        "--kv",
        type=click.Choice(["auto", "f16", "q8_0", "q4_0"]),
        default="auto",
        show_default=True,
        help="How keys and values are stored; q8_0 takes half the memory, q4_0 about a quarter, "
        "at some cost in accuracy.",
    ),
    click.option(
        "--draft",
        metavar="MODEL",
        help="A smaller model of the same family, or a file of train-draft; auto: the catalogue's.",
    ),
    click.option(
        "--speculate",
        default="auto",
        show_default=True,
        metavar="DRAFTERS",
        help="off, auto, or some of ngram, recycling, model and dovetail joined by +. Same text.",
    ),
    click.option(
        "--acceptance",
        type=click.Choice(["match", "rejection", "spectr"]),
        default="match",
        show_default=True,
        metavar="POLICY",
        help="How --draft's guesses are accepted where tokens are sampled: match keeps a seed's "
        "text; rejection and spectr keep its distribution and accept more.",
    ),
    click.option(
        "--vram",
        "vram_bytes",
        type=Bytes(),
        metavar="SIZE",
        help="GPU memory to use at most, as 3GB. [default: none]",
    ),
    click.option(
        "--strict", is_flag=True, help="When GPU memory runs out, end instead of planning anew."
    ),
)

_LOAD_NAMES = (
    "threads",
    "context",
    "kv",
    "draft",
    "speculate",
    "acceptance",
    "vram_bytes",
    "strict",
)

# name, type, help; the defaults in the texts are those of SamplingOptions.
_SAMPLING_OPTIONS = (
    ("--max-tokens", int, "Most tokens to generate. [default: until the model ends]"),
    ("--temperature", float, "Higher is more varied; 0 takes the likeliest. [default: 0.8]"),
    ("--top-k", int, "Keep the K likeliest tokens; 0 is off. [default: 40]"),
    ("--top-p", float, "Keep the likeliest up to this probability; 1 is off. [default: 0.95]"),
    ("--min-p", float, "Keep those this fraction as likely as the first. [default: 0.05]"),
    ("--typical-p", float, "Keep the most typical up to this probability. [default: 1.0]"),
    ("--repeat-penalty", float, "Penalty of recent tokens; 1 is off. [default: 1.0]"),
    ("--repeat-last-n", int, "Recent tokens that penalties look at. [default: 64]"),
    ("--presence-penalty", float, "Taken once from each recent token. [default: 0.0]"),
    ("--frequency-penalty", float, "Taken for each time a token was recent. [default: 0.0]"),
    ("--seed", int, "Same seed, options and prompt: same text. [default: random]"),
)

_STOP_OPTION = click.option(
    "--stop", multiple=True, metavar="TEXT", help="End before this text; may be given repeatedly."
)


def load_options(command: Command) -> Command:
    """Add the options of `Options` that commands have, passed together as the mapping `load`."""

    @functools.wraps(command)
    def with_mapping(*args: Any, **values: Any) -> Any:
        load = {name: values.pop(name) for name in _LOAD_NAMES}
        return command(*args, load=load, **values)

    for option in reversed(_LOAD_OPTIONS):
        option(with_mapping)
    return cast(Command, with_mapping)


def sampling_options(command: Command) -> Command:
    """Add the options of `SamplingOptions`, passed by their names there; None when not given."""
    command = _STOP_OPTION(command)
    for name, kind, text in reversed(_SAMPLING_OPTIONS):
        metavar = "N" if kind is int else "X"
        command = click.option(name, type=kind, metavar=metavar, help=text)(command)
    return command
