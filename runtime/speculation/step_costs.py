"""How long a step takes, by its number of rows."""

from bisect import bisect_left
from collections import deque
from statistics import median

_RECENT = 9  # times of a size that count
_ENOUGH = 3  # before that a size is expected to cost what its neighbours say: the first are slower
_SLOPE = 0.08  # of a first guess: each row more adds so much of a one-row step


class StepCosts:
    """Medians of recent step times; between well-known sizes, lines."""

    def __init__(self) -> None:
        self._recent: dict[int, deque[float]] = {}
        self._known: dict[int, float] = {}

    def observe(self, num_rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        recent = self._recent.setdefault(num_rows, deque(maxlen=_RECENT))
        recent.append(seconds)
        if len(recent) >= _ENOUGH or num_rows == 1:
            self._known[num_rows] = median(recent)

    @property
    def known(self) -> bool:
        """Whether a one-row step was timed: before, nothing can be compared."""
        return 1 in self._known

    def seconds(self, num_rows: int) -> float:
        """Expected time of a step."""
        exact = self._known.get(num_rows)
        if exact is not None:
            return exact
        one = self._known[1]
        sizes = sorted(self._known)
        at = bisect_left(sizes, num_rows)
        low, low_s = sizes[at - 1], self._known[sizes[at - 1]]
        if at == len(sizes):
            return low_s + (num_rows - low) * _SLOPE * one
        high, high_s = sizes[at], self._known[sizes[at]]
        return low_s + (high_s - low_s) * (num_rows - low) / (high - low)
