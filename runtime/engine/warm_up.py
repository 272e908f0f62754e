"""A job that has a device compile its kernels before anybody waits for an answer."""

from collections.abc import Sequence

import numpy as np

from slipstream.runtime.engine.collecting_job import CollectingJob
from slipstream.runtime.engine.job import LARGEST_CHUNK
from slipstream.runtime.warm_up_rows import WARM_UP_ROWS

_ALL_WANTED = 16  # rows up to which a step wants the logits of all, as the trees of drafts do


class WarmUp(CollectingJob):
    """Reads a text in the steps of a warm-up; what they take says nothing of later ones."""

    is_timed = False

    def __init__(self, steps: Sequence[int], *, streamed: bool) -> None:
        """steps : rows of each; streamed : whether they are, or have the layers where they lie"""
        self._steps = list(steps)
        super().__init__([0] * sum(steps))
        self.streams = streamed
        self.chunk_limit = self._steps.pop(0)

    def wanted(self, count: int) -> range:
        return range(count if count <= _ALL_WANTED else 1)

    def rows_of(self, logits: np.ndarray) -> np.ndarray:
        return logits[:0].copy()

    def advance(self, logits: np.ndarray) -> None:
        super().advance(logits)
        if self._steps:
            self.chunk_limit = self._steps.pop(0)


def warm_ups(context: int, *, streamed_from: int | None, in_place: bool) -> list[WarmUp]:
    """What has a device compile all kernels that steps will take.

    context       : tokens that a sequence may have; the last steps are those that fit
    streamed_from : rows from which on steps are streamed; None where none are
    in_place      : whether steps with the layers where they lie take any
    """
    jobs = []
    if streamed_from is not None:
        least_rows = max(2, streamed_from)  # one row alone is no prompt, and never streamed
        more_rows = [rows for rows in WARM_UP_ROWS if rows > least_rows]
        for steps in ([min(LARGEST_CHUNK, context)], _last_of([*more_rows, least_rows], context)):
            jobs.append(WarmUp(steps, streamed=True))
    if in_place:
        jobs.append(WarmUp(_last_of(WARM_UP_ROWS, context), streamed=False))
    return jobs


def _last_of(steps: Sequence[int], most_tokens: int) -> Sequence[int]:
    """As many of the last steps as have no more tokens than that."""
    first = next(place for place in range(len(steps)) if sum(steps[place:]) <= most_tokens)
    return steps[first:]
