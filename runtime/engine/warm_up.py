"""A job that has a device compile its kernels before anybody waits for an answer."""

import numpy as np

from slipstream.runtime.engine.collecting_job import CollectingJob

# Kernels differ by these numbers of rows, see `gpu_kernels.launch_shapes` and `attention`; more
# rows take those of the most. A step of a new shape runs once, and is collected, so that the last
# runs as all later ones do.
_STEPS = (80, 40, 12, 6, 3, 1, 1)
_ALL_WANTED = 16  # rows up to which a step wants the logits of all, as the trees of drafts do


class WarmUp(CollectingJob):
    """Reads a text in steps of falling sizes; what it takes says nothing of later steps."""

    is_timed = False

    def __init__(self, context: int) -> None:
        """context : tokens that a sequence may have"""
        super().__init__([0] * min(context, sum(_STEPS)))
        self.chunk_limit = self._next_step()

    def wanted(self, count: int) -> range:
        return range(count if count <= _ALL_WANTED else 1)

    def rows_of(self, logits: np.ndarray) -> np.ndarray:
        return logits[:0].copy()

    def advance(self, logits: np.ndarray) -> None:
        super().advance(logits)
        if not self.finished:
            self.chunk_limit = self._next_step()

    def _next_step(self) -> int:
        left = [sum(_STEPS[place:]) for place in range(len(_STEPS) + 1)]
        return self.num_pending - next(tokens for tokens in left if tokens < self.num_pending)
