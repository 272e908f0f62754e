"""A job that has a device compile its kernels before anybody waits for an answer."""

import numpy as np

from slipstream.runtime.engine.collecting_job import CollectingJob
from slipstream.runtime.engine.job import LARGEST_CHUNK

# Kernels differ by these numbers of rows, see `gpu_kernels.launch_shapes` and `attention`. A step
# of a new shape runs once, and is collected, so that the last runs as all later ones do.
_LAST_STEPS = (40, 12, 6, 3, 1, 1)
_ALL_WANTED = 16  # rows up to which a step wants the logits of all, as the trees of drafts do


class WarmUp(CollectingJob):
    """Reads a text in steps of falling sizes; what it takes says nothing of later steps."""

    is_timed = False

    def __init__(self, context: int) -> None:
        """context : tokens that a sequence may have"""
        super().__init__([0] * min(context, LARGEST_CHUNK + sum(_LAST_STEPS)))
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
        """All tokens but those of the last steps, then these one after another."""
        left = [sum(_LAST_STEPS[place:]) for place in range(len(_LAST_STEPS) + 1)]
        kept = next(tokens for tokens in left if tokens < self.num_pending)
        return min(LARGEST_CHUNK, self.num_pending - kept)
