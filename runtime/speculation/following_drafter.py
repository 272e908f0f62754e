"""A costly drafter with a sequence of its own, which follows the text that it drafts for."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

from slipstream.runtime.speculation.drafter import CostlyDrafter
from slipstream.runtime.speculation.timed_sequence import MOST_TIMED_ROWS, TimedSequence

CATCH_UP_ROWS = 128  # of one step of catching up
_HORIZON = 256  # tokens: most answers are no longer


class FollowingDrafter(CostlyDrafter):
    """Reads the text in chunks, where that is worth it; a few rows are read with a guess."""

    def __init__(self, sequence: TimedSequence) -> None:
        super().__init__()
        self._sequence = sequence
        self._row_s = 0.0  # of catching up

    @property
    def link_bytes(self) -> int:
        return self._sequence.link_bytes

    @abstractmethod
    def _lag(self, text: Sequence[int]) -> int | None:
        """Rows of a text that are not read yet; None where they can't be."""

    @abstractmethod
    def _read(self, count: int) -> None:
        """The next rows of that text, in one feeding of the sequence."""

    def catch_up(
        self, text: Sequence[int], tokens_left: int, step_s: Callable[[int], float]
    ) -> bool:
        lag = None if self.account.rests else self._lag(text)
        if lag is None or not self.is_worth_reading(lag, tokens_left, step_s):
            return False
        return lag <= MOST_TIMED_ROWS or self.read_on(lag) <= MOST_TIMED_ROWS

    def is_worth_reading(self, lag: int, tokens_left: int, step_s: Callable[[int], float]) -> bool:
        """Whether to read on, with so many rows behind the end of the text."""
        tokens = min(tokens_left, _HORIZON)
        cost_s = lag * self._row_s if lag > MOST_TIMED_ROWS else 0.0
        return self.account.is_worth_reading(cost_s, tokens, self._hope_s(step_s), step_s(1))

    def read_on(self, lag: int) -> int:
        """Read a chunk; rows that then are left."""
        count = min(CATCH_UP_ROWS, lag - 1)
        self._read(count)
        costs = self._sequence.costs  # no row of many can take longer than one alone
        alone_s = costs.seconds(1) if costs.known else math.inf
        self._row_s = min(self._sequence.fed_s / count, alone_s)
        return lag - count

    def _hope_s(self, step_s: Callable[[int], float]) -> float:
        """Seconds that a token may take less: were there no other drafters, and guesses free.

        What they take is known only once they were tried.
        """
        return step_s(1) - step_s(2) / (1.0 + self.PRIOR)
