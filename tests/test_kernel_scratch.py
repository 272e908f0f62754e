"""Memory that items borrow."""

import ctypes
from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernel_library import _loaded_by_llvm
from slipstream.cpu_kernels.compiled.kernels.addresses import words_at
from slipstream.cpu_kernels.compiled.kernels.compiler import compile_object, kernel
from slipstream.cpu_kernels.compiled.kernels.scratch import borrow

SYMBOL = "slipstream_kernel"


@kernel()
def _borrow_thrice(scratch: Any, out: Any) -> None:
    seen = words_at(out, (3,))
    seen[0] = borrow(scratch, 10)
    seen[1] = borrow(scratch, 100_000)
    seen[2] = borrow(scratch, 20)
    words_at(seen[1], (12_500,))[:] = 7  # all of it is ours


def test_a_thread_keeps_the_most_that_it_borrowed() -> None:
    """And objects that are not linked here are loaded by LLVM."""
    address, _owner = _loaded_by_llvm(compile_object(_borrow_thrice, SYMBOL))
    scratch, seen = np.zeros(2, np.int64), np.zeros(3, np.int64)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)(address)
    assert function(scratch.ctypes.data, seen.ctypes.data) == 0
    small, large, again = seen
    assert small % 64 == large % 64 == 0
    assert again == large
    assert scratch[1] >= 100_000
