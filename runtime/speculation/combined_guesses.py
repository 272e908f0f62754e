"""The chances of tokens that several drafters named for the same place.

Each drafter by itself has a measured chance for each token that it names, and what is left is its
chance to have named nothing right. Drafters are taken to err independently, and at most one token
is right, so who is nearly sure of one takes nearly all from what others name instead. A token's
odds are against nobody being right; where drafters agree, one of them has to be right.
"""

from collections.abc import Mapping, Sequence

_MOST_CERTAIN = 0.98  # that one of a drafter's guesses is right


class CombinedGuesses:
    """Grows by one drafter's guesses after the other."""

    def __init__(self) -> None:
        self._odds: dict[int, float] = {}

    def add(self, rates: Sequence[tuple[int, float]]) -> None:
        """A drafter's tokens, none twice, each with its chance as far as this drafter knows."""
        total = sum(rate for _, rate in rates)
        sure = min(total, _MOST_CERTAIN)
        for token, rate in rates:
            own = rate * sure / total / (1.0 - sure) if total else 0.0
            others = self._odds.get(token, 0.0)
            self._odds[token] = (1.0 + own) * (1.0 + others) - 1.0

    @property
    def covered(self) -> float:
        """The chance that one of the tokens is right."""
        return 1.0 - 1.0 / self._whole

    def chances(self) -> Mapping[int, float]:
        """Of each token that was named, in the order in which they were."""
        whole = self._whole
        return {token: odds / whole for token, odds in self._odds.items()}

    @property
    def _whole(self) -> float:
        return 1.0 + sum(self._odds.values())
