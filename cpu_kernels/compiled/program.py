"""Ops that run without Python between them, as often as wanted."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import PROGRAM
from slipstream.cpu_kernels.compiled.thread_pool import POOL


class Program:
    """Calls in their order; each run reads and writes the same arrays."""

    def __init__(self) -> None:
        """Of no calls yet: `capturing` fills it."""
        self._call: Call | None = None

    def fill(self, calls: list[Call]) -> None:
        """Take these calls."""
        self._call = Call.of(
            load_kernel("work_sharing.run_program"),
            PROGRAM,
            calls,
            calls=np.array([(call.kernel.address, call.record) for call in calls], np.int64),
            num_calls=len(calls),
        )

    def run(self) -> None:
        """Run all calls."""
        assert self._call is not None, "its ops are still being captured"
        POOL.run(self._call)


@contextmanager
def capturing() -> Iterator[Program]:
    """The ops that this thread calls meanwhile, none of which runs before the program does."""
    program = Program()
    with POOL.capturing() as calls:
        yield program
    program.fill(calls)
