"""A measure that single slow moments do not move."""

from collections import deque

_RECENT = 7


class RecentMedian:
    """The median of the last few values."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, value: float) -> None:
        self._recent.append(value)

    @property
    def value(self) -> float:
        """Zero before there was any."""
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else 0.0
