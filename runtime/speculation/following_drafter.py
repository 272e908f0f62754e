"""A costly drafter with a sequence of its own, which follows the text that it drafts for."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

from slipstream.runtime.speculation.drafter import CostlyDrafter
from slipstream.runtime.speculation.timed_sequence import MOST_TIMED_ROWS, TimedSequence

CATCH_UP_ROWS = 128  # of one step of catching up
_HORIZON = 256  # tokens: most answers are no longer
_DEEPEST = 4  # of the chains of guesses that tell whether drafting is worth a trial


class FollowingDrafter(CostlyDrafter):
    """Reads the text in chunks, where that is worth it; a few rows are read with a guess."""

    def __init__(self, sequence: TimedSequence) -> None:
        super().__init__()
        self._sequence = sequence
        self._row_s = 0.0  # of catching up

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
        if lag is None:
            return False
        is_far = lag > MOST_TIMED_ROWS
        cost_s = lag * self._row_s if is_far else 0.0
        tokens = min(tokens_left, _HORIZON)
        if not self.account.is_worth_reading(
            cost_s, tokens, partial(self._expected_s, step_s), step_s(1)
        ):
            return False
        if not is_far:
            return True
        count = min(CATCH_UP_ROWS, lag - 1)
        self._read(count)
        self._row_s = self._sequence.fed_s / count
        return lag - count <= MOST_TIMED_ROWS

    def _expected_s(self, step_s: Callable[[int], float]) -> float:
        """Seconds that a token is expected to take less, were there no other drafters."""
        costs = self._sequence.costs
        price_s = costs.seconds(1) if costs.known else 0.0
        least_s, expected = step_s(1), 1.0
        for depth in range(1, _DEEPEST + 1):
            expected += self.PRIOR**depth
            least_s = min(least_s, (depth * price_s + step_s(depth + 1)) / expected)
        return step_s(1) - least_s
