"""Which model drafts for which, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipstream.offload.plan import Decision
from slipstream.runtime.catalogue import CATALOGUE, list_local, resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.models import ModelConfig, read_model_config
from slipstream.runtime.options import Options
from slipstream.runtime.speculation import MODEL, drafter_names

# A draft that reads more than this share of what the target reads costs more on the same CPU than
# it brings: four of its steps for the three tokens that 75 % of right guesses make of them.
_LARGEST_SHARE = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The drafters of a model, and the file of the one that is a model itself; None without one."""

    names: tuple[str, ...]
    file: ModelFile | None
    config: ModelConfig | None
    decisions: tuple[Decision, ...]


@contextmanager
def chosen_draft(model: str | Path, target: ModelFile, options: Options) -> Iterator[Draft]:
    """The drafters that the options ask for, or that are chosen here, and the open file.

    Raises CatalogueError for a draft that is not on this machine, and as `ModelFile.open` does.
    """
    names = drafter_names(options.speculate)
    wants_model = MODEL in names
    path, why = None, "speculation is off" if not names else "other drafters were asked for"
    if wants_model:
        path, why = _path_of_draft(model, target, options.draft)
    if path is None:
        names = tuple(name for name in names if name != MODEL)
        yield _decided(names, None, None, why)
        return
    with ModelFile.open(path) as file:
        yield _decided(names, file, read_model_config(file), why)


def _path_of_draft(
    model: str | Path, target: ModelFile, draft: str | None
) -> tuple[Path | None, str]:
    """The file of the draft, if there is to be one, and why."""
    if draft is None:
        return None, "no draft was named"
    if draft != "auto":
        return resolve(draft), "asked for"
    entry = CATALOGUE.get(str(model))
    if entry is None or entry.draft is None:
        return None, "the catalogue has none for this model"
    found = next((local for local in list_local() if local.name == entry.draft), None)
    if found is None:
        return None, f"{entry.draft} drafts for it: run `slipstream pull {entry.draft}` to have it"
    share = found.path.stat().st_size / target.size_bytes
    if share > _LARGEST_SHARE:
        return None, f"{entry.draft} has {share:.0%} of its bytes, too many to pay on one CPU"
    return found.path, f"the catalogue's draft for it, with {share:.0%} of its bytes"


def _decided(
    names: tuple[str, ...], file: ModelFile | None, config: ModelConfig | None, why: str
) -> Draft:
    name = "none" if config is None else config.name
    drafters = Decision(
        what="drafters",
        value="+".join(names) or "none",
        why="the target verifies what they guess, so the text stays its own" if names else why,
    )
    decisions = (drafters, Decision(what="draft", value=name, why=why)) if names else (drafters,)
    return Draft(names=names, file=file, config=config, decisions=decisions)
