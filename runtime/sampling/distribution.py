"""The final distribution over next tokens, and how one is drawn from it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distribution:
    """Every token that can come next, the likeliest first.

    ids   : (N,) int64, distinct; equal probabilities are ordered by logit, then by lower id
    probs : (N,) float64, positive, descending, summing to 1 up to rounding
    """

    ids: npt.NDArray[np.int64]
    probs: npt.NDArray[np.float64]

    @classmethod
    def certain(cls, token_id: int) -> Self:
        """The distribution that always gives `token_id`."""
        return cls(ids=np.array([token_id], dtype=np.int64), probs=np.ones(1))

    def probability(self, token_id: int) -> float:
        """The probability of `token_id`; 0 for a token that a filter removed."""
        return float(self.probs[self.ids == token_id].sum())

    def draw(self, uniform: float) -> int:
        """The token at `uniform` in [0, 1) of the cumulative distribution (inverse transform)."""
        return int(self.ids[drawn_index(self.probs, uniform)])


def drawn_index(weights: npt.NDArray[np.float64], uniform: float) -> int:
    """The index at `uniform` in [0, 1) of the cumulative weights (N,), all positive."""
    cumulative = np.cumsum(weights)
    place = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    # The product can round up to the total itself, which lies past the last one.
    return min(int(place), weights.size - 1)
