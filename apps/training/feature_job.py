"""A job that collects the target's hidden states of a text."""

import numpy as np

from slipstream.runtime.engine import CollectingJob


class FeatureJob(CollectingJob):
    """Final-normed hidden states of all tokens, (T, C) float32; no logits are computed."""

    @property
    def wants_hidden(self) -> bool:
        return True

    def wanted(self, count: int) -> range:
        return range(0)

    def rows_of(self, logits: np.ndarray) -> np.ndarray:
        assert self.hidden is not None
        return self.hidden
