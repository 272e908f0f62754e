"""The drafters of a loaded model, and a speculator for each request."""

from types import ModuleType
from typing import TYPE_CHECKING

from slipstream.runtime.errors import OptionError
from slipstream.runtime.sampling import Sampler, SamplingOptions
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter
from slipstream.runtime.speculation.model_drafter import ModelDrafter
from slipstream.runtime.speculation.ngram_lookup import NgramLookup
from slipstream.runtime.speculation.speculation_state import SpeculationState
from slipstream.runtime.speculation.speculator import Speculator
from slipstream.runtime.speculation.token_recycling import TokenRecycling

if TYPE_CHECKING:
    from slipstream.runtime.speculation.device_thread import DeviceThread

OFF = "off"
MODEL = "model"
DOVETAIL = "dovetail"
DRAFTERS = ("ngram", "recycling", MODEL, DOVETAIL)
TRAINED_SUFFIX = ".safetensors"  # of drafts that DOVETAIL takes; MODEL takes all others
MATCH = "match"
ACCEPTANCES = (MATCH, "rejection", "spectr")


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
    return DOVETAIL if draft.lower().endswith(TRAINED_SUFFIX) else MODEL


class Speculation:
    """What the requests of a model share: what was learned from its text so far."""

    def __init__(
        self,
        names: tuple[str, ...],
        ops: ModuleType,
        vocab_size: int,
        costly: CostlyDrafter | None = None,
        *,
        acceptance: str = MATCH,
        overlap: bool = False,
    ) -> None:
        """ops, vocab_size : of the target
        costly             : the drafter that has a draft, a model or a Dovetail one
        acceptance         : one of ACCEPTANCES
        overlap            : whether a draft model drafts while the target verifies; with MATCH only
        """
        self._names = names
        self._costly = costly
        self._thread = _device_thread() if isinstance(costly, ModelDrafter) and overlap else None
        self._acceptance = acceptance
        self._vocab_size = vocab_size
        self._state = SpeculationState(ops)
        self._recycling = TokenRecycling(vocab_size) if "recycling" in names else None

    def request(self, options: SamplingOptions, seed: int) -> tuple[Sampler, Speculator | None]:
        """For a new request; no speculator where speculation is off.

        Raises OptionError as `Sampler` does.
        """
        sampler, costly = self._sampler_and_costly(options, seed)
        drafters: list[Drafter] = []
        if "ngram" in self._names:
            drafters.append(NgramLookup())
        if self._recycling is not None:
            drafters.append(self._recycling)
        if costly is not None:
            drafters.append(costly)
        return sampler, Speculator(drafters, self._state) if drafters else None

    def close(self) -> None:
        """Let go of the draft and of what was learned; requests go on without drafts."""
        if self._thread is not None:
            self._thread.close()
        self._names = ()
        self._costly = self._thread = self._recycling = None

    def _sampler_and_costly(
        self, options: SamplingOptions, seed: int
    ) -> tuple[Sampler, CostlyDrafter | None]:
        """A request's; they know each other where a draft draws."""
        costly, vocab_size = self._costly, self._vocab_size
        if not isinstance(costly, ModelDrafter):
            return Sampler(options, seed=seed, vocab_size=vocab_size), costly
        if self._acceptance != MATCH and not options.is_greedy:
            from slipstream.runtime.speculation.acceptance import POLICIES
            from slipstream.runtime.speculation.accepting_sampler import AcceptingSampler
            from slipstream.runtime.speculation.sampled_drafter import SampledDrafter

            policy = POLICIES[self._acceptance]
            sampler = AcceptingSampler(options, policy, seed=seed, vocab_size=vocab_size)
            return sampler, SampledDrafter(costly, sampler)
        plain = Sampler(options, seed=seed, vocab_size=vocab_size)
        if self._thread is None:
            return plain, costly
        from slipstream.runtime.speculation.draft_ahead import DraftAhead

        return plain, DraftAhead(costly, self._thread)


def _device_thread() -> "DeviceThread":
    from slipstream.runtime.speculation.device_thread import DeviceThread

    return DeviceThread()
