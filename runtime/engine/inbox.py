"""Jobs on their way from the threads of callers to the engine's."""

import threading
from collections import deque
from collections.abc import Callable

from slipstream.runtime.engine.job import Job
from slipstream.runtime.errors import EngineError


class Inbox:
    """A queue that callers fill and close, and that the engine's thread empties in order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, job: Job) -> None:
        """Queue a job. Raises EngineError once the inbox is closed."""
        with self._changed:
            if self._closed:
                raise EngineError("the model is closed; load it again")
            self._jobs.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Take no more jobs. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def wait(self) -> None:
        """Sleep until there is a job or the inbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._jobs)

    def take(self, fits: Callable[[Job], bool]) -> Job | None:
        """The next job if it fits. Later ones wait behind it, so that a large job gets its turn."""
        with self._changed:
            return self._jobs.popleft() if self._jobs and fits(self._jobs[0]) else None

    def take_all(self, wanted: Callable[[Job], bool]) -> list[Job]:
        """All jobs that are wanted, wherever they stand."""
        with self._changed:
            taken = [job for job in self._jobs if wanted(job)]
            self._jobs = deque(job for job in self._jobs if job not in taken)
            return taken
