"""From what the user wrote for a model to an open `LLM`, with progress and a pull where needed."""

from dataclasses import replace
from pathlib import Path

from slipstream.apps.cli.progress import LoadProgress, PullProgress
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.catalogue.download import pull
from slipstream.runtime.catalogue.names import parse_name
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options


def open_model(model: str, options: Options) -> LLM:
    """Load a model, pulling it first when it has a name and is not on this machine.

    The draft is pulled too when it is named. Raises as `LLM` and `catalogue.pull` do.
    """
    path = local_file(model)
    if options.draft not in (None, "auto"):
        options = replace(options, draft=str(local_file(options.draft)))
    with LoadProgress() as progress:
        return LLM.open(path, options, progress=progress)


def local_file(model: str) -> Path:
    """The model's file, pulled first when it has a name and is not here."""
    return resolve(model) if parse_name(model) is None else pull_model(model)


def pull_model(model: str) -> Path:
    """Pull a model with its progress shown; says nothing when it is here already."""
    with PullProgress() as progress:
        return pull(model, progress=progress)
