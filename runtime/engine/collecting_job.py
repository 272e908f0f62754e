"""A job that collects what a model makes of every token of a text."""

import threading
from abc import abstractmethod

import numpy as np

from slipstream.runtime.engine.job import Job
from slipstream.runtime.errors import EngineError


class CollectingJob(Job):
    """Rows of all tokens; nothing is taken from the cache: all are computed."""

    reuses_cache = False

    def __init__(self, tokens: list[int]) -> None:
        super().__init__(tokens, max_length=len(tokens))
        self._rows: list[np.ndarray] = []
        self._done = threading.Event()
        self._error: BaseException | None = None

    @abstractmethod
    def rows_of(self, logits: np.ndarray) -> np.ndarray:
        """What is kept of a step with these logits (wanted, V): rows that nobody else writes to."""

    def result(self) -> np.ndarray:
        """Wait for the rows of all tokens."""
        try:
            self._done.wait()
        except BaseException:  # Ctrl-C: nobody will ask for them again
            self.cancelled = True
            raise
        if self._error is not None:
            raise self._error
        return np.concatenate(self._rows)

    def started(self, reused: int) -> None:
        pass

    def advance(self, logits: np.ndarray) -> None:
        self._rows.append(self.rows_of(logits))
        if self.num_pending == 0:
            self.finished = True
            self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self.finished = True
        self._done.set()

    def cancel(self) -> None:
        self.fail(EngineError("reading a text was cancelled: the model was closed meanwhile"))
