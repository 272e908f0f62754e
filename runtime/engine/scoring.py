"""A job that collects the logits of every token of a text."""

import numpy as np

from slipstream.runtime.engine.collecting_job import CollectingJob
from slipstream.runtime.errors import EngineError


class Scoring(CollectingJob):
    """Logits of all tokens, (T, V) float32."""

    chunk_limit = 64  # rows of logits in one step: 64 x 262,144 x 4 bytes are 67 MB

    def wanted(self, count: int) -> range:
        return range(count)

    def rows_of(self, logits: np.ndarray) -> np.ndarray:
        largest = logits.max(axis=1)  # NaN where there is one
        if not np.isfinite(largest).all():
            raise EngineError(
                "the model's logits must be numbers, but the largest of a token's is "
                f"{largest[~np.isfinite(largest)][0]}; the model file is damaged or its weights "
                "overflow"
            )
        return logits.copy()
