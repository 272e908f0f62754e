"""A job that collects the target's hidden states of a text."""

import threading

import numpy as np

from slipstream.runtime.engine import Job
from slipstream.runtime.errors import EngineError


class FeatureJob(Job):
    """Final-normed hidden states of all tokens, (T, C) float32; no logits are computed."""

    reuses_cache = False

    def __init__(self, tokens: list[int]) -> None:
        super().__init__(tokens, max_length=len(tokens))
        self._parts: list[np.ndarray] = []
        self._done = threading.Event()
        self._error: BaseException | None = None

    def result(self) -> np.ndarray:
        """Wait for the hidden states."""
        try:
            self._done.wait()
        except BaseException:  # Ctrl-C: nobody will ask for them again
            self.cancelled = True
            raise
        if self._error is not None:
            raise self._error
        return np.concatenate(self._parts)

    @property
    def wants_hidden(self) -> bool:
        return True

    def wanted(self, count: int) -> range:
        return range(0)

    def started(self, reused: int) -> None:
        pass

    def advance(self, logits: np.ndarray) -> None:
        assert self.hidden is not None
        self._parts.append(self.hidden.copy())
        if self.num_pending == 0:
            self.finished = True
            self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self.finished = True
        self._done.set()

    def cancel(self) -> None:
        self.fail(EngineError("collecting features was cancelled: the model was closed meanwhile"))
