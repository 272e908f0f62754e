"""The loop that admits, schedules, runs and advances every caller's job."""

import threading
import time
from collections import deque

import numpy as np

from slipstream.runtime.backends import Backend
from slipstream.runtime.engine.job import Job
from slipstream.runtime.engine.prefix_cache import PrefixCache
from slipstream.runtime.engine.scheduler import PrefillPace, ScheduledStep, schedule
from slipstream.runtime.errors import EngineError
from slipstream.runtime.kv_cache import CacheFullError, KVCache
from slipstream.runtime.models import ForwardPass, Model, Workspace

__all__ = ["COMPUTE_LOCK", "Engine"]

# Models in one process take turns: each forward uses all the threads that it was given.
COMPUTE_LOCK = threading.Lock()


class Engine:
    """Runs jobs of any number of threads on one model, in one thread of its own."""

    def __init__(
        self, model: Model, cache: KVCache, backend: Backend, *, threads: int, capacity: int
    ) -> None:
        """`capacity` is how many tokens the cache holds for all running jobs together."""
        self._model = model
        self._cache = cache
        self._backend = backend
        self._threads = threads
        self._capacity = capacity
        self._prefixes = PrefixCache(cache)
        self._pace = PrefillPace()
        self._workspace = Workspace()
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="slipstream-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises EngineError when the engine is closed."""
        with self._changed:
            if self._closed:
                raise EngineError("the model is closed; load it again")
            self._waiting.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Stop after the step under way; unfinished jobs are cancelled. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while self._admit():
            try:
                step = schedule(self._running, self._pace.rows)
                self._advance(step, self._forward(step))
            except Exception as error:  # a bug or no memory: its jobs hear of it, the engine lives
                self._fail_running(error)
        for job in [*self._running, *self._waiting]:
            job.cancel()

    def _admit(self) -> bool:
        """Wait for work and move jobs that fit to the running ones; False when closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._running or self._waiting)
                if self._closed:
                    return False
                self._drop_cancelled()
                while self._waiting and self._fits(self._waiting[0]):
                    self._running.append(self._start(self._waiting.popleft()))
                if self._running:
                    return True

    def _fits(self, job: Job) -> bool:
        reserved = sum(each.max_length for each in self._running)
        return not self._running or reserved + job.max_length <= self._capacity

    def _start(self, job: Job) -> Job:
        if job.reuses_cache:
            job.slot, job.cached = self._prefixes.take(job.tokens)
        else:
            job.slot = self._cache.open()
        job.started(job.cached)
        return job

    def _forward(self, step: ScheduledStep) -> np.ndarray:
        """Logits of the step's wanted rows; idle sequences make room for its keys and values."""
        while True:
            try:
                run = ForwardPass(step.batch, self._cache, self._backend, self._workspace)
                break
            except CacheFullError:
                if not self._prefixes.evict_one():
                    raise
        start = time.perf_counter()
        with COMPUTE_LOCK:
            self._backend.ops.set_num_threads(self._threads)
            logits = self._model.forward(run)
        self._pace.observe(run.num_rows, time.perf_counter() - start)
        return logits

    def _advance(self, step: ScheduledStep, logits: np.ndarray) -> None:
        for job, count, rows in step.jobs:
            self._cache.commit(job.slot)
            job.cached += count
            try:
                job.advance(logits[rows])
            except Exception as error:  # this job's own: a sampler that bans every token
                job.fail(error)
            if job.finished:
                self._release(job)

    def _drop_cancelled(self) -> None:
        for job in [*self._running, *self._waiting]:
            if job.cancelled:
                job.cancel()
                if job in self._running:
                    self._release(job)
                else:
                    self._waiting.remove(job)

    def _release(self, job: Job) -> None:
        self._running.remove(job)
        self._prefixes.keep(job.slot, job.tokens[: job.cached])

    def _fail_running(self, cause: Exception) -> None:
        for job in self._running:
            error = EngineError(f"the engine met an unexpected error: {cause}")
            error.__cause__ = cause
            job.fail(error)
            self._cache.close(job.slot)
        self._running.clear()
