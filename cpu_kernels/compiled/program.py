"""Ops that were run once, to be run again without Python between them."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import PROGRAM
from slipstream.cpu_kernels.compiled.thread_pool import POOL


class Program:
    """Calls in their order; running it again reads and writes the same arrays."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls  # their records stay alive
        self._all = Call.of(
            load_kernel("work_sharing.run_program"),
            PROGRAM,
            calls=np.array([(call.kernel.address, call.record) for call in calls], np.int64),
            num_calls=len(calls),
        )

    def run(self) -> None:
        POOL.run(self._all)


class Recording:
    """What `record` yields; has the program when the block has ended."""

    program: Program


@contextmanager
def record() -> Iterator[Recording]:
    """Run the ops that this thread calls meanwhile, and make a program of them."""
    recording = Recording()
    with POOL.noting() as calls:
        yield recording
    recording.program = Program(calls)
