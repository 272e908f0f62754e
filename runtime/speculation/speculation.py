"""The drafters of a loaded model, and a speculator for each request."""

from types import ModuleType

from slipstream.runtime.errors import OptionError
from slipstream.runtime.speculation.drafter import Drafter
from slipstream.runtime.speculation.ngram_lookup import NgramLookup
from slipstream.runtime.speculation.speculator import SpeculationState, Speculator
from slipstream.runtime.speculation.token_recycling import TokenRecycling

OFF = "off"
DRAFTERS = ("ngram", "recycling")
AUTO = "+".join(DRAFTERS)


def drafter_names(speculate: str | bool) -> tuple[str, ...]:
    """The drafters that an option names: "auto", "off", or names joined by "+".

    Raises OptionError for anything else.
    """
    if speculate in (OFF, False):
        return ()
    text = AUTO if speculate in ("auto", True) else str(speculate)
    names = tuple(text.split("+"))
    if len(set(names)) < len(names) or not set(names) <= set(DRAFTERS):
        raise OptionError(
            f"speculate: expected auto, off, or drafters joined by + ({', '.join(DRAFTERS)}), "
            f"got {speculate!r}"
        )
    return names


class Speculation:
    """What the requests of a model share: what was learned from its text so far."""

    def __init__(self, names: tuple[str, ...], ops: ModuleType, vocab_size: int) -> None:
        self._names = names
        self._state = SpeculationState(ops)
        self._recycling = TokenRecycling(vocab_size) if "recycling" in names else None

    def speculator(self) -> Speculator | None:
        """For a new request; None where speculation is off."""
        drafters: list[Drafter] = []
        if "ngram" in self._names:
            drafters.append(NgramLookup())
        if self._recycling is not None:
            drafters.append(self._recycling)
        return Speculator(drafters, self._state) if drafters else None
