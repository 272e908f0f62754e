"""The threads that share the ops' work: awake during a step, asleep between conversations."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.addresses import aligned_empty
from slipstream.cpu_kernels.compiled.work_sharing import LIMIT, STATE_WORDS, work

_PATIENCE = 20_000  # looks of about 25 ns: 0.5 ms, longer than the gap between two steps


class ThreadPool:
    """Workers for one op at a time; the thread that calls an op works too."""

    def __init__(self) -> None:
        self.num_threads = 1
        self._state = _new_state()
        self._address = self._state.ctypes.data
        self._in_use = threading.Lock()
        self._alone = threading.local()
        self._wake = threading.Condition()
        self._num_asleep = 0
        self._workers: list[threading.Thread] = []
        self._process = os.getpid()

    def resize(self, num_threads: int) -> None:
        """Use `num_threads` in all from the next op on."""
        if num_threads == self.num_threads and self._process == os.getpid():
            return
        if self._process != os.getpid():  # a fork has no workers
            self._process, self._workers, self._num_asleep = os.getpid(), [], 0
            self._in_use, self._wake = threading.Lock(), threading.Condition()
        with self._in_use:
            self.num_threads = num_threads
            self._state[LIMIT // 8] = num_threads - 1
            for rank in range(len(self._workers), num_threads - 1):
                worker = threading.Thread(
                    target=self._work, args=(rank,), name=f"slipstream-worker-{rank}", daemon=True
                )
                self._workers.append(worker)
                worker.start()

    def run(self, op: Callable[..., None], *arguments: Any) -> None:
        """op(state, *arguments), with the workers' help unless another thread's op has it."""
        if not self._in_use.acquire(blocking=False):
            op(self._own_state(), *arguments)
            return
        try:
            if self._num_asleep:
                with self._wake:
                    self._wake.notify_all()
            op(self._address, *arguments)
        finally:
            self._in_use.release()

    def _work(self, rank: int) -> None:
        while True:
            work(self._address, rank, _PATIENCE)
            with self._wake:
                self._num_asleep += 1
                self._wake.wait()
                self._num_asleep -= 1

    def _own_state(self) -> int:
        """Address of a state that only this thread knows: it runs all items itself."""
        if not hasattr(self._alone, "state"):
            self._alone.state = _new_state()
        return int(self._alone.state.ctypes.data)


def _new_state() -> np.ndarray:
    state = aligned_empty(8 * STATE_WORDS).view(np.int64)
    state[:] = 0
    return state


POOL = ThreadPool()
