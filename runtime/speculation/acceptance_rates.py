"""How often guesses of one kind came true, lately."""

from collections.abc import Hashable


class AcceptanceRates:
    """A running share of accepted guesses for each kind, forgetting slowly."""

    _PRIOR_WEIGHT = 4.0  # guesses that a prior counts as
    _MEMORY = 0.97  # of older guesses, at each new one: about the last 33 count

    def __init__(self) -> None:
        self._counts: dict[Hashable, tuple[float, float]] = {}  # accepted, made

    def rate(self, kind: Hashable, prior: float) -> float:
        """Share of this kind's guesses that came true; `prior` as long as there were few."""
        accepted, made = self._counts.get(kind, (0.0, 0.0))
        return (accepted + prior * self._PRIOR_WEIGHT) / (made + self._PRIOR_WEIGHT)

    def observe(self, kind: Hashable, accepted: bool) -> None:
        """A guess whose parent was accepted came true, or did not."""
        before, made = self._counts.get(kind, (0.0, 0.0))
        self._counts[kind] = (before * self._MEMORY + accepted, made * self._MEMORY + 1.0)
