"""The drafters of a loaded model, and a speculator for each request."""

from types import ModuleType

from slipstream.runtime.errors import OptionError
from slipstream.runtime.speculation.draft_model import DraftModel
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter
from slipstream.runtime.speculation.model_drafter import ModelDrafter
from slipstream.runtime.speculation.ngram_lookup import NgramLookup
from slipstream.runtime.speculation.speculator import SpeculationState, Speculator
from slipstream.runtime.speculation.token_recycling import TokenRecycling

OFF = "off"
MODEL = "model"
DOVETAIL = "dovetail"
DRAFTERS = ("ngram", "recycling", MODEL, DOVETAIL)
TRAINED_SUFFIX = ".safetensors"  # of drafts that DOVETAIL takes; MODEL takes all others


def drafter_names(speculate: str) -> tuple[str, ...]:
    """The drafters that an option names: "auto" for all, "off", or names joined by "+".

    Raises OptionError for anything else.
    """
    if speculate == OFF:
        return ()
    names = DRAFTERS if speculate == "auto" else tuple(speculate.split("+"))
    if len(set(names)) < len(names) or not set(names) <= set(DRAFTERS):
        raise OptionError(
            f"speculate: expected auto, off, or drafters joined by + ({', '.join(DRAFTERS)}), "
            f"got {speculate!r}"
        )
    return names


def drafter_of(draft: str) -> str:
    """The drafter that uses a draft of this name or path."""
    return DOVETAIL if draft.endswith(TRAINED_SUFFIX) else MODEL


class Speculation:
    """What the requests of a model share: what was learned from its text so far."""

    def __init__(
        self,
        names: tuple[str, ...],
        ops: ModuleType,
        vocab_size: int,
        draft_model: DraftModel | None = None,
        dovetail: CostlyDrafter | None = None,
    ) -> None:
        """ops, vocab_size : of the target; at most one of the two drafts"""
        self._names = names
        self._model = ModelDrafter(draft_model, vocab_size) if draft_model is not None else None
        self._dovetail = dovetail
        self._state = SpeculationState(ops)
        self._recycling = TokenRecycling(vocab_size) if "recycling" in names else None

    def speculator(self) -> Speculator | None:
        """For a new request; None where speculation is off."""
        drafters: list[Drafter] = []
        if "ngram" in self._names:
            drafters.append(NgramLookup())
        if self._recycling is not None:
            drafters.append(self._recycling)
        if self._model is not None:
            drafters.append(self._model)
        if self._dovetail is not None:
            drafters.append(self._dovetail)
        return Speculator(drafters, self._state) if drafters else None

    def close(self) -> None:
        """Let go of the draft model and of what was learned; requests go on without drafts."""
        self._names = ()
        self._model = self._recycling = self._dovetail = None
