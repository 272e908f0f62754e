"""How long a step takes, by its number of rows."""

import numpy as np

from slipstream.runtime.speculation.recent_median import RecentMedian

_STALE = 128  # observations of others, after which a size is tried as if it were new
_SLOPE = 0.08  # of a first guess: each row more adds so much of a one-row step


class StepCosts:
    """Medians of recent step times; lines between the sizes that are known, and beyond them.

    The first time of a size does not count: its ops are collected then, and its memory is new.
    """

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._recent: dict[int, RecentMedian] = {}
        self._known: dict[int, float] = {}
        self._seen: dict[int, int] = {}  # when, counted in observations
        self._now = 0
        self._curve: list[float] = []  # by rows, made when it is asked for

    def observe(self, num_rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        self._now += 1
        self._seen[num_rows] = self._now
        recent = self._recent.get(num_rows)
        if recent is None:
            self._recent[num_rows] = RecentMedian()
            return
        recent.add(seconds)
        self._known[num_rows] = recent.value
        for size in [each for each in self._known if self._now - self._seen[each] > _STALE]:
            if size > 1:  # with which all others are compared
                del self._known[size]
                self._recent[size] = RecentMedian()
        self._curve = []

    @property
    def known(self) -> bool:
        """Whether a one-row step was timed: before, nothing can be compared."""
        return 1 in self._known

    @property
    def largest_known(self) -> int:
        """Rows of the largest step that was timed lately."""
        return max(self._known)

    def seconds(self, num_rows: int) -> float:
        """Expected time of a step of up to `most_rows`."""
        if not self._curve:
            sizes = sorted(self._known)
            times = [self._known[size] for size in sizes]
            if sizes[-1] < self._most_rows:
                slope = _SLOPE * times[0]
                if len(sizes) > 1:
                    slope = (times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
                times.append(times[-1] + (self._most_rows - sizes[-1]) * max(0.0, slope))
                sizes.append(self._most_rows)
            curve = np.interp(np.arange(self._most_rows + 1), sizes, times)
            # Fewer rows never take longer; a time that says so is an old one of a slow moment.
            self._curve = np.minimum.accumulate(curve[::-1])[::-1].tolist()
        return self._curve[num_rows]
