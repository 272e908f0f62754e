"""Memory that starts where vectors want it."""

import numpy as np


def aligned_empty(num_bytes: int) -> np.ndarray:
    """Uninitialised uint8 array at the start of a cache line, so that no vector straddles two."""
    buffer = np.empty(num_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + num_bytes]
