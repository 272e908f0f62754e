"""How long a step takes, by its number of rows."""

from bisect import bisect_left

_NEWEST = 0.15  # weight of a new time in the running mean
_OUTLIER = 3.0  # times the mean: a pause of the machine, not a cost
_SLOPE = 0.08  # of the first guess: each row more adds so much of a one-row step


class StepCosts:
    """Running mean times of steps of 1 to `most_rows` rows; between measured ones, lines."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._seen: set[int] = set()

    def observe(self, num_rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        if num_rows not in self._seen:
            self._seen.add(num_rows)  # the first step of a size is also prepared
            return
        known = self._seconds.get(num_rows)
        if known is None:
            self._seconds[num_rows] = seconds
        else:
            self._seconds[num_rows] += _NEWEST * (min(seconds, _OUTLIER * known) - known)

    @property
    def known(self) -> bool:
        """Whether a one-row step was timed: before, nothing can be compared."""
        return 1 in self._seconds

    def seconds(self, num_rows: int) -> float:
        """Expected time of a step."""
        exact = self._seconds.get(num_rows)
        if exact is not None:
            return exact
        one = self._seconds[1]
        sizes = sorted(self._seconds)
        at = bisect_left(sizes, num_rows)
        low, low_s = sizes[at - 1], self._seconds[sizes[at - 1]]
        if at == len(sizes):
            return low_s + (num_rows - low) * _SLOPE * one
        high, high_s = sizes[at], self._seconds[sizes[at]]
        return low_s + (high_s - low_s) * (num_rows - low) / (high - low)
