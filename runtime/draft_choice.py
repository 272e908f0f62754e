"""Which model drafts for which, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipstream.offload.plan import Decision
from slipstream.runtime.catalogue import CATALOGUE, list_local, resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import OptionError
from slipstream.runtime.models import ModelConfig, read_model_config
from slipstream.runtime.options import Options
from slipstream.runtime.speculation import DOVETAIL, MATCH, MODEL, OFF, drafter_names, drafter_of

if TYPE_CHECKING:
    from slipstream.runtime.dovetail import DraftFile

# A draft that reads more than this share of what the target reads costs more on the same CPU than
# it brings: four of its steps for the three tokens that 75 % of right guesses make of them.
_LARGEST_SHARE = 0.45
_WHY_DRAFTERS = "the target verifies in one step as many guesses as pay at the speeds measured here"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftChoice:
    """The drafters of a model, and the file of the one that has one; None without.

    file, config : of a draft that is a model itself
    trained      : a Dovetail draft
    """

    names: tuple[str, ...]
    file: ModelFile | None
    config: ModelConfig | None
    trained: "DraftFile | None"
    decisions: tuple[Decision, ...]


@contextmanager
def chosen_draft(target: ModelFile, options: Options) -> Iterator[DraftChoice]:
    """The drafters that the options ask for, or that are chosen here, and the open file.

    Raises CatalogueError for a draft that is not on this machine, OptionError for an acceptance of
    what a draft draws where there is none, and as `ModelFile.open` does.
    """
    names = drafter_names(options.speculate)
    if options.draft is not None and drafter_of(options.draft) == DOVETAIL:
        yield _trained(target, names, Path(options.draft).expanduser())
        return
    names = tuple(name for name in names if name != DOVETAIL)
    wants_model = MODEL in names
    path, why = None, "speculation is off" if not names else "other drafters were asked for"
    if wants_model:
        path, why = _path_of_draft(target, options.draft)
    if path is None:
        if options.acceptance != MATCH:
            raise OptionError(
                f"acceptance: {options.acceptance} is for tokens that a draft model draws, but "
                f"{why}; name one as draft, or leave it out"
            )
        names = tuple(name for name in names if name != MODEL)
        yield _decided(names, None, None, why)
        return
    with ModelFile.open(path) as file:
        yield _decided(names, file, read_model_config(file), why)


def _trained(target: ModelFile, names: tuple[str, ...], path: Path) -> DraftChoice:
    """With a Dovetail draft. Raises OptionError for one of another target."""
    from slipstream.runtime.dovetail import DraftFile

    file = DraftFile.open(path)
    file.config.check_target(target, read_model_config(target), path)
    names = tuple(name for name in names if name != MODEL)
    return _decided(names, None, None, "asked for", file)


def _path_of_draft(target: ModelFile, draft: str | None) -> tuple[Path | None, str]:
    """The file of the draft, if there is to be one, and why."""
    if draft is None:
        return None, "no draft was named"
    if draft != "auto":
        return resolve(draft), "asked for"
    paths = {local.name: local.path for local in list_local()}
    name = next((name for name, path in paths.items() if path == target.path), None)
    entry = CATALOGUE.get(name or "")
    known = None if entry is None else entry.draft
    if known is None:
        return None, "the catalogue has none for this model"
    if known not in paths:
        return None, f"{known} drafts for it: run `slipstream pull {known}` to have it"
    share = paths[known].stat().st_size / target.size_bytes
    if share > _LARGEST_SHARE:
        return None, f"{known} has {share:.0%} of its bytes, too many to pay on one CPU"
    return paths[known], f"{known} of the catalogue, with {share:.0%} of the bytes"


def _decided(
    names: tuple[str, ...],
    file: ModelFile | None,
    config: ModelConfig | None,
    why: str,
    trained: "DraftFile | None" = None,
) -> DraftChoice:
    name = "none" if config is None else config.name
    if trained is not None:
        name = trained.path.name
    drafters = Decision(
        what="drafters",
        value="+".join(names) or OFF,
        why=_WHY_DRAFTERS if names else why,
    )
    decisions = (drafters, Decision(what="draft", value=name, why=why)) if names else (drafters,)
    return DraftChoice(names=names, file=file, config=config, trained=trained, decisions=decisions)
