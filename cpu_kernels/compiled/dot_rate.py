"""This host's dot product by itself: timed, it is the ceiling of every matrix product."""

import numpy as np

from slipstream.cpu_kernels.compiled.kernel_library import load_kernel

CHAINS = 12  # sums that do not wait for one another: more than any latency
MULTIPLY_ADDS_A_TURN = CHAINS * 64  # a vector's bytes


def dots(turns: int) -> int:
    """`turns` times MULTIPLY_ADDS_A_TURN products of bytes, on this thread; the outcome."""
    total = np.zeros(1, np.int32)
    load_kernel("dot_rate.dots").call(total.ctypes.data, turns)
    return int(total[0])
