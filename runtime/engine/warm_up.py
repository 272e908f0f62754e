"""A job that has a device compile its kernels before anybody waits for an answer."""

import numpy as np

from slipstream.runtime.engine.collecting_job import CollectingJob
from slipstream.runtime.engine.job import LARGEST_CHUNK
from slipstream.runtime.warm_up_rows import WARM_UP_ROWS

_ALL_WANTED = 16  # rows up to which a step wants the logits of all, as the trees of drafts do


class WarmUp(CollectingJob):
    """Reads a text in the steps of a warm-up; what they take says nothing of later ones."""

    is_timed = False

    def __init__(self, context: int, *, streamed: bool) -> None:
        """context : tokens that a sequence may have; the last steps are those that fit

        streamed : whether to have one step with streamed layers, the largest there is, in place of
                   several with the layers where they are
        """
        self._steps = [min(LARGEST_CHUNK, context)] if streamed else _last_of(WARM_UP_ROWS, context)
        super().__init__([0] * sum(self._steps))
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


def _last_of(steps: tuple[int, ...], most_tokens: int) -> list[int]:
    """As many of the last steps as have no more tokens than that."""
    first = next(place for place in range(len(steps)) if sum(steps[place:]) <= most_tokens)
    return list(steps[first:])
