"""How long a step takes, by its number of rows."""

from itertools import pairwise

from slipstream.runtime.speculation.recent_median import RecentMedian

_STALE = 128  # observations of others, after which what a size took is forgotten
_SLOPE = 0.08  # of a first guess: each row more adds so much of a one-row step


class StepCosts:
    """Medians of recent step times; lines between the sizes that are known, and beyond them.

    The first time of a size does not count: its ops are collected then, and its memory is new.
    Lines are made when they are asked for, since many steps ask for none: right after a step, whose
    weights pushed it out of the caches, this Python takes ten times as long as alone.

    known : whether a one-row step was timed; before, nothing can be compared
    """

    def __init__(self, most_rows: int) -> None:
        self.known = False
        self._most_rows = most_rows
        self._recent: dict[int, RecentMedian] = {}
        self._seen: dict[int, int] = {}  # when, counted in observations
        self._now = 0
        self._points: list[tuple[int, float]] = []  # rows and seconds

    def observe(self, num_rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        recent = self._recent.get(num_rows)
        if recent is None:
            self._recent[num_rows] = RecentMedian()
        else:
            if self._is_old(num_rows):
                recent = self._recent[num_rows] = RecentMedian()
            recent.add(seconds)
            self.known = self.known or num_rows == 1
        self._now += 1
        self._seen[num_rows] = self._now
        self._points.clear()

    @property
    def largest_known(self) -> int:
        """Rows of the largest step that was timed lately."""
        return max(filter(self._is_known, self._recent))

    def seconds(self, num_rows: int) -> float:
        """Expected time of a step of up to `most_rows`."""
        points = self._points
        if not points:
            points += self._lines()
        for (rows, low), (more_rows, high) in pairwise(points):
            if num_rows <= more_rows:
                return low + (high - low) * max(0, num_rows - rows) / (more_rows - rows)
        return points[-1][1]

    def _is_old(self, num_rows: int) -> bool:
        """Never of one row, with which all others are compared."""
        return num_rows > 1 and self._now - self._seen[num_rows] > _STALE

    def _is_known(self, num_rows: int) -> bool:
        return self._recent[num_rows].value > 0.0 and not self._is_old(num_rows)

    def _lines(self) -> list[tuple[int, float]]:
        """The ends of the lines: the known sizes, ascending, then `most_rows`."""
        points = [(size, self._recent[size].value) for size in sorted(self._recent)]
        points = [point for point in points if self._is_known(point[0])]
        rows, seconds = points[-1]
        if rows < self._most_rows:
            slope = _SLOPE * seconds
            if len(points) > 1:
                slope = (seconds - points[-2][1]) / (rows - points[-2][0])
            points.append((self._most_rows, seconds + (self._most_rows - rows) * max(0.0, slope)))
        # Fewer rows never take longer; a time that says so is an old one of a slow moment.
        for index in reversed(range(len(points) - 1)):
            points[index] = (points[index][0], min(points[index][1], points[index + 1][1]))
        return points
