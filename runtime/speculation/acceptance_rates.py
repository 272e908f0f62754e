"""How often guesses of one kind came true, lately."""

from collections.abc import Hashable


class AcceptanceRates:
    """A running share of accepted guesses for each kind, forgetting slowly, priors too."""

    _PRIOR_WEIGHT = 4.0  # guesses that a prior counts as
    _MEMORY = 0.97  # of older guesses, at each new one: about the last 33 count

    def __init__(self) -> None:
        self._counts: dict[Hashable, tuple[float, float]] = {}  # accepted, made

    def rate(self, kind: Hashable, prior: float) -> float:
        """Share of this kind's guesses that came true; `prior` before there were any."""
        counts = self._counts.get(kind)
        return prior if counts is None else counts[0] / counts[1]

    def observe(self, kind: Hashable, prior: float, accepted: bool) -> None:
        """A guess whose parent was accepted came true, or did not."""
        counts = self._counts.get(kind, (prior * self._PRIOR_WEIGHT, self._PRIOR_WEIGHT))
        self._counts[kind] = (
            counts[0] * self._MEMORY + accepted,
            counts[1] * self._MEMORY + 1.0,
        )
