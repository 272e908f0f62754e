"""The loop that admits, schedules, runs and advances every caller's job."""

import time
from dataclasses import replace

import numpy as np

from slipstream.runtime.engine.inbox import Inbox
from slipstream.runtime.engine.job import LARGEST_CHUNK, Job
from slipstream.runtime.engine.prefix_cache import PrefixCache
from slipstream.runtime.engine.scheduler import PrefillPace, ScheduledStep, schedule
from slipstream.runtime.engine.streaming_choice import Streaming, StreamingChoice
from slipstream.runtime.errors import EngineError, MemoryBudgetError
from slipstream.runtime.kv_cache import CacheFullError, KVCache, pages_for
from slipstream.runtime.models import Devices, Model, StepRunner


class StepLoop:
    """What the engine's thread does. It alone holds the model, which goes when it ends."""

    def __init__(
        self,
        inbox: Inbox,
        model: Model,
        cache: KVCache,
        devices: Devices,
        num_threads: int,
        streaming: Streaming | None = None,
    ) -> None:
        self._inbox = inbox
        stream = None if streaming is None else streaming.layers
        self._runner = StepRunner(model, cache, devices, stream)
        self._streaming_choice = None if streaming is None else StreamingChoice(streaming.plan)
        self._cache = cache
        self._devices = devices
        self._num_threads = num_threads
        self._prefixes = PrefixCache(cache)
        self._pace = PrefillPace()
        self._running: list[Job] = []

    def run(self) -> None:
        """Work until the inbox is closed; what has not ended by then is cancelled."""
        try:
            while not self._inbox.closed:
                self._step()
        finally:  # also when the thread dies: nobody should wait for it
            self._inbox.close()
            for job in [*self._running, *self._inbox.take_all(lambda _: True)]:
                job.cancel()

    def _step(self) -> None:
        try:
            self._admit()
            if self._running:
                step = self._next_step()
                self._advance(step, self._forward(step))
        except Exception as error:  # a bug or no memory: its jobs hear of it, the engine lives
            self._fail_running(error)

    def _admit(self) -> None:
        """Wait for work, drop what was cancelled, and start jobs that fit beside the running."""
        if not self._running:
            self._inbox.wait()
        for job in [each for each in self._running if each.cancelled]:
            job.cancel()
            self._release(job)
        for job in self._inbox.take_all(lambda each: each.cancelled):
            job.cancel()
        while (next_job := self._inbox.take(self._fits)) is not None:
            self._running.append(next_job)  # first, so that an error in its start is its own too
            self._start(next_job)

    def _fits(self, job: Job) -> bool:
        """Whether its pages are free, now and however long the running jobs become."""
        reserved = sum(pages_for(each.max_length) for each in self._running)
        return not self._running or reserved + pages_for(job.max_length) <= self._cache.num_pages

    def _start(self, job: Job) -> None:
        if job.reuses_cache:
            job.slot, job.cached = self._prefixes.take(job.tokens)
        else:
            job.slot = self._cache.open()
        job.started(job.cached)

    def _next_step(self) -> ScheduledStep:
        """With a long part of a prompt where it is streamed; else what the pace allows."""
        choice, asked = self._streaming_choice, [job.streams for job in self._running]
        if choice is not None and False not in asked and self._reads_a_prompt():
            step = schedule(self._running, LARGEST_CHUNK)
            if True in asked or choice.pays(len(step.batch.tokens)):
                return replace(step, streamed=True)
        return schedule(self._running, self._pace.rows)

    def _reads_a_prompt(self) -> bool:
        return any(job.num_pending > 1 for job in self._running)

    def _forward(self, step: ScheduledStep) -> np.ndarray:
        """Logits of the step's wanted rows; idle sequences make room for its keys and values."""
        copied_bytes = self._runner.link_bytes
        with self._devices.computing(self._num_threads):
            while True:
                start = time.perf_counter()
                try:
                    logits = self._runner.logits(step.batch, streamed=step.streamed)
                    break
                except CacheFullError:
                    if not self._prefixes.evict_one():
                        raise
        seconds, num_rows = time.perf_counter() - start, len(step.batch.tokens)
        self._observe(step, num_rows, seconds)
        self._share_link_bytes(step, copied_bytes)
        job, count, _ = step.jobs[0]
        if len(self._running) == 1 and count == 1:
            job.took(num_rows, seconds)
        return logits

    def _observe(self, step: ScheduledStep, num_rows: int, seconds: float) -> None:
        if step.tree:  # whose rows have no prompt's speed: logits of each are wanted
            return
        if not all(job.is_timed for job, _, _ in step.jobs):
            return
        if not step.streamed:
            self._pace.observe(num_rows, seconds)
        if self._streaming_choice and num_rows >= PrefillPace.SMALLEST:
            self._streaming_choice.observe(num_rows, seconds, streamed=step.streamed)

    def _advance(self, step: ScheduledStep, logits: np.ndarray) -> None:
        hidden = None
        if step.batch.keeps_all:
            copied_bytes = self._runner.link_bytes
            hidden = self._runner.hidden()
            self._share_link_bytes(step, copied_bytes)
        first = 0  # row of the job's own
        for job, count, rows in step.jobs:
            own = slice(first, first + (len(logits) if step.tree else count))
            job.hidden = None if hidden is None else hidden[own]
            first = own.stop
            if step.streamed and self._streaming_choice is not None:
                job.streamed_tokens += count
                job.streaming_rows = self._streaming_choice.least_rows(LARGEST_CHUNK)
            try:
                if step.tree:
                    path = job.verify(step.tree, logits)
                    self._cache.commit(job.slot, [0, *(node + 1 for node in path)])
                    job.cached += 1 + len(path)
                else:
                    self._cache.commit(job.slot)
                    job.cached += count
                    job.advance(logits[rows])
            except Exception as error:  # this job's own: a sampler that bans every token
                job.fail(error)
            if job.finished:
                self._release(job)

    def _share_link_bytes(self, step: ScheduledStep, before: int) -> None:
        """Jobs share what was copied since `before` had been, by their rows."""
        copied_bytes, num_rows = self._runner.link_bytes - before, len(step.batch.tokens)
        for job, count, _ in step.jobs:
            job.link_bytes += copied_bytes * count // num_rows

    def _release(self, job: Job) -> None:
        self._running.remove(job)
        self._cache.truncate(job.slot, job.cached)  # an error may have left rows of a draft
        self._prefixes.keep(job.slot, job.tokens[: job.cached])

    def _fail_running(self, cause: Exception) -> None:
        failed, self._running = self._running, []
        for job in failed:
            error = self._told(cause)
            error.__cause__ = cause
            job.fail(error)
            if job.slot >= 0:  # else it failed before it had one
                self._cache.close(job.slot)

    def _told(self, cause: Exception) -> Exception:
        """What a job hears of an error in a step."""
        if isinstance(cause, self._runner.device_memory_errors):
            return MemoryBudgetError(
                "The GPU's memory ran out during a step: close what uses the rest, or load the "
                "model again with less vram_bytes."
            )
        return EngineError(f"the engine met an unexpected error: {cause}")
