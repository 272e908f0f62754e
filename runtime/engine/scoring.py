"""A job that collects the logits of every token of a text."""

import threading

import numpy as np

from slipstream.runtime.engine.job import Job
from slipstream.runtime.errors import EngineError


class Scoring(Job):
    """Logits of all tokens, (T, V) float32. Nothing is taken from the cache: all are computed."""

    reuses_cache = False
    chunk_limit = 64  # rows of logits in one step: 64 x 262,144 x 4 bytes are 67 MB

    def __init__(self, tokens: list[int]) -> None:
        super().__init__(tokens, max_length=len(tokens))
        self._rows: list[np.ndarray] = []
        self._done = threading.Event()
        self._error: BaseException | None = None

    def result(self) -> np.ndarray:
        """Wait for the logits."""
        try:
            self._done.wait()
        except BaseException:  # Ctrl-C: nobody will ask for them again
            self.cancelled = True
            raise
        if self._error is not None:
            raise self._error
        return np.concatenate(self._rows)

    def wanted(self, count: int) -> range:
        return range(count)

    def started(self, reused: int) -> None:
        pass

    def advance(self, logits: np.ndarray) -> None:
        largest = logits.max(axis=1)  # NaN where there is one
        if not np.isfinite(largest).all():
            raise EngineError(
                "the model's logits must be numbers, but the largest of a token's is "
                f"{largest[~np.isfinite(largest)][0]}; the model file is damaged or its weights "
                "overflow"
            )
        self._rows.append(logits.copy())
        if self.num_pending == 0:
            self.finished = True
            self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self.finished = True
        self._done.set()

    def cancel(self) -> None:
        self.fail(EngineError("computing logits was cancelled: the model was closed meanwhile"))
