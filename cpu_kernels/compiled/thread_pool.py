"""The threads that share the ops' work: awake during a step, asleep between conversations."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.worker_state import LIMIT, new_state, new_worker_state


class ThreadPool:
    """Workers for one op at a time; the thread that calls an op works too."""

    def __init__(self) -> None:
        self.num_threads = 1
        self._state = new_state()
        self._address = self._state.ctypes.data
        self._in_use = threading.Lock()
        self._own = threading.local()
        self._spare: deque[np.ndarray] = deque()  # states for calls that get no help
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
            self._state = new_state()  # what is left of the parent's op is not for this one
            self._address = self._state.ctypes.data
        with self._in_use:
            self.num_threads = num_threads
            self._state[LIMIT // 8] = num_threads - 1
            for rank in range(len(self._workers), num_threads - 1):
                worker = threading.Thread(
                    target=self._work, args=(rank,), name=f"slipstream-worker-{rank}", daemon=True
                )
                self._workers.append(worker)
                worker.start()

    def run(self, call: Call) -> None:
        """Run a call with the workers' help, unless another thread's call has it."""
        captured = getattr(self._own, "captured", None)
        if captured is not None:
            captured.append(call)
            return
        if not self._in_use.acquire(blocking=False):
            self._run_alone(call)
            return
        try:
            if self._num_asleep:
                with self._wake:
                    self._wake.notify_all()
            call.run(self._address)
        finally:
            self._in_use.release()

    @contextmanager
    def capturing(self) -> Iterator[list[Call]]:
        """The calls that this thread makes meanwhile, in their order; none of them runs."""
        before = getattr(self._own, "captured", None)
        calls = self._own.captured = []
        try:
            yield calls
        finally:
            self._own.captured = before

    def _work(self, rank: int) -> None:
        work, own = load_kernel("work_sharing.work"), new_worker_state(rank)
        while True:
            work.call(self._address, own.ctypes.data)
            with self._wake:
                self._num_asleep += 1
                # A call that runs now may have counted the sleepers before us.
                if rank >= self.num_threads - 1 or not self._in_use.locked():
                    self._wake.wait()
                self._num_asleep -= 1

    def _run_alone(self, call: Call) -> None:
        """Run a call with a state that no worker knows: this thread runs all items itself."""
        try:
            state = self._spare.pop()
        except IndexError:
            state = new_state()
        call.run(state.ctypes.data)
        self._spare.append(state)


POOL = ThreadPool()
