"""The chances of tokens that several drafters named for the same place.

Each drafter by itself has a measured chance for each token that it names, and what is left is its
chance to have named nothing right. Drafters are taken to err independently. Exactly one token is
right, so a drafter who is nearly sure of one takes nearly all from what others name instead:
a token's odds, against nobody being right, are counted for each drafter, odds of those who agree
are joined as independent evidence, and the whole is scaled to a sum of one.
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
        scale = _MOST_CERTAIN / max(total, _MOST_CERTAIN)
        nothing_right = 1.0 - scale * total
        for token, rate in rates:
            own = scale * rate / nothing_right
            others = self._odds.get(token, 0.0)
            self._odds[token] = (1.0 + own) * (1.0 + others) - 1.0

    @property
    def covered(self) -> float:
        """The chance that one of the tokens is right."""
        total = sum(self._odds.values())
        return total / (1.0 + total)

    def chances(self) -> Mapping[int, float]:
        """Of each token that was named, in the order in which they were."""
        whole = 1.0 + sum(self._odds.values())
        return {token: odds / whole for token, odds in self._odds.items()}
