"""The drafters of a loaded model, and a speculator for each request."""

from types import ModuleType
from typing import TYPE_CHECKING

from slipstream.runtime.errors import OptionError
from slipstream.runtime.sampling import Sampler, SamplingOptions
from slipstream.runtime.speculation.draft_model import DraftModel
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter
from slipstream.runtime.speculation.model_drafter import ModelDrafter
from slipstream.runtime.speculation.ngram_lookup import NgramLookup
from slipstream.runtime.speculation.speculator import SpeculationState, Speculator
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
        *,
        acceptance: str = MATCH,
        overlap: bool = False,
    ) -> None:
        """ops, vocab_size : of the target; at most one of the two drafts
        acceptance      : one of ACCEPTANCES
        overlap         : whether the draft model goes on while the target verifies; with MATCH only
        """
        self._names = names
        self._model = ModelDrafter(draft_model, vocab_size) if draft_model is not None else None
        self._thread = _device_thread() if draft_model is not None and overlap else None
        self._acceptance = acceptance
        self._vocab_size = vocab_size
        self._dovetail = dovetail
        self._state = SpeculationState(ops)
        self._recycling = TokenRecycling(vocab_size) if "recycling" in names else None

    def sampler(self, options: SamplingOptions, seed: int) -> Sampler:
        """For a new request: one that accepts by the policy, where a draft model is to draw.

        Raises OptionError as `Sampler` does.
        """
        if not self._draws(options):
            return Sampler(options, seed=seed, vocab_size=self._vocab_size)
        from slipstream.runtime.speculation.acceptance import POLICIES
        from slipstream.runtime.speculation.accepting_sampler import AcceptingSampler

        policy = POLICIES[self._acceptance]
        return AcceptingSampler(options, policy, seed=seed, vocab_size=self._vocab_size)

    def speculator(self, sampler: Sampler) -> Speculator | None:
        """For the request of a sampler made here; None where speculation is off."""
        drafters: list[Drafter] = []
        if "ngram" in self._names:
            drafters.append(NgramLookup())
        if self._recycling is not None:
            drafters.append(self._recycling)
        if self._model is not None:
            drafters.append(self._model_drafter(self._model, sampler))
        if self._dovetail is not None:
            drafters.append(self._dovetail)
        return Speculator(drafters, self._state) if drafters else None

    def _draws(self, options: SamplingOptions) -> bool:
        """Whether a draft model draws its guesses, for a policy that accepts such."""
        return self._acceptance != MATCH and self._model is not None and not options.is_greedy

    def _model_drafter(self, model: ModelDrafter, sampler: Sampler) -> Drafter:
        if self._draws(sampler.options):
            from slipstream.runtime.speculation.accepting_sampler import AcceptingSampler
            from slipstream.runtime.speculation.sampled_drafter import SampledDrafter

            assert isinstance(sampler, AcceptingSampler)
            return SampledDrafter(model, sampler)
        if self._thread is None:
            return model
        from slipstream.runtime.speculation.draft_ahead import DraftAhead

        return DraftAhead(model, self._thread)

    def close(self) -> None:
        """Let go of the draft model and of what was learned; requests go on without drafts."""
        if self._thread is not None:
            self._thread.close()
        self._names = ()
        self._model = self._thread = self._recycling = self._dovetail = None


def _device_thread() -> "DeviceThread":
    from slipstream.runtime.speculation.device_thread import DeviceThread

    return DeviceThread()
