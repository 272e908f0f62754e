"""Ops that run without Python between them, as often as wanted."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import PROGRAM
from slipstream.cpu_kernels.compiled.thread_pool import POOL

Result = TypeVar("Result")


class Program:
    """Calls in their order; each run reads and writes the same arrays."""

    def __init__(self, calls: list[Call]) -> None:
        self._call = Call.of(
            load_kernel("work_sharing.run_program"),
            PROGRAM,
            calls,
            calls=np.array([(call.kernel.address, call.record) for call in calls], np.int64),
            num_calls=len(calls),
        )

    def run(self) -> None:
        """Run all calls."""
        POOL.run(self._call)


def capture(run: Callable[[], Result]) -> tuple[Result, Program]:
    """What `run` returns, and the ops that it called on this thread, none of which has run yet."""
    with POOL.capturing() as calls:
        result = run()
    return result, Program(calls)
