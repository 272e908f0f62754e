"""The engine as its callers see it: a place to submit jobs, and a thread that works on them."""

import threading

from slipstream.runtime.engine.inbox import Inbox
from slipstream.runtime.engine.job import Job
from slipstream.runtime.engine.step_loop import StepLoop
from slipstream.runtime.engine.streaming_choice import Streaming
from slipstream.runtime.errors import EngineError
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import Devices, Model


class Engine:
    """Runs jobs of any number of threads on one model, in one thread of its own."""

    def __init__(
        self,
        model: Model,
        cache: KVCache,
        devices: Devices,
        *,
        threads: int,
        streaming: Streaming | None = None,
    ) -> None:
        """`cache` is the engine's alone; `threads` share the work of each step.

        devices   : those that the model was loaded to
        streaming : how its layers in RAM are streamed to a GPU for prompts, if they are
        """
        self._inbox = Inbox()
        loop = StepLoop(self._inbox, model, cache, devices, threads, streaming)
        self._thread = threading.Thread(target=loop.run, name="slipstream-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises EngineError when the engine is closed or stayed behind in a fork."""
        self._inbox.put(job)
        if not self._thread.is_alive() and not self._inbox.closed:
            raise EngineError(
                "the model was loaded by another process, which forked this one; load it here"
            )

    def close(self, timeout_s: float | None = None) -> None:
        """Stop after the step under way and let go of the model; unfinished jobs are cancelled.

        Waits for that step, `timeout_s` at most. Safe to call twice.
        """
        self._inbox.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
