"""Drafts that a smaller model draws from its own distribution, for policies that accept such."""

from bisect import bisect
from collections.abc import Callable, Sequence
from typing import ClassVar

from slipstream.runtime.speculation.accepting_sampler import AcceptingSampler
from slipstream.runtime.speculation.drafter import CostlyDrafter, Guess
from slipstream.runtime.speculation.model_drafter import ModelDrafter

_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # probability when drawn; a class between two
_PRIORS = (0.7, 0.3, 0.15, 0.1)  # by the order of drawing


class SampledDrafter(CostlyDrafter):
    """The draft model's for one request, whose sampler keeps what was drawn."""

    name: ClassVar[str] = "sampled model"
    PRIOR: ClassVar[float] = _PRIORS[0]

    def __init__(self, model: ModelDrafter, sampler: AcceptingSampler) -> None:
        super().__init__()
        self.account = model.account
        self._model = model
        self._sampler = sampler
        self._text: Sequence[int] = ()

    @property
    def link_bytes(self) -> int:
        return self._model.link_bytes

    def begin(self, text: Sequence[int]) -> None:
        self._text = text
        self._model.begin(text)

    def catch_up(
        self, text: Sequence[int], tokens_left: int, step_s: Callable[[int], float]
    ) -> bool:
        return self._model.catch_up(text, tokens_left, step_s)

    def price_s(self, path: tuple[int, ...]) -> float | None:
        return self._model.price_s(path) if self._sampler.drawn(path[1:]) is None else 0.0

    def guesses(self, path: tuple[int, ...], state: None) -> list[Guess]:
        """In the order of drawing, which is the order of acceptance."""
        drawn = self._sampler.drawn(path[1:])
        if drawn is None:
            drawn = self._sampler.draw(self._text, path[1:], self._model.logits(path)[0])
        shares: dict[int, float] = {}  # of each token once, when it was first drawn
        for token, q in drawn:
            shares.setdefault(token, q.probability(token))
        return [
            Guess(
                token,
                (self.name, rank * (len(_SHARES) + 1) + bisect(_SHARES, share)),
                _PRIORS[min(rank, len(_PRIORS) - 1)],
            )
            for rank, (token, share) in enumerate(shares.items())
        ]
