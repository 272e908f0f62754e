"""Rotary position embedding."""

import numpy as np

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.errors import expect_shape


def rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, *, interleaved: bool) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.rope`."""
    num_rows, half = cos.shape
    expect_shape("sin", sin.shape, cos.shape)
    expect_shape("x", x.shape, (num_rows, x.shape[1], max(x.shape[2], 2 * half)))
    _rope(x, cos, sin, interleaved)
    return x


@kernel()
def _rope(x, cos, sin, interleaved):
    half = cos.shape[1]
    step, stride = (2, 1) if interleaved else (1, half)
    for m in range(x.shape[0]):
        for h in range(x.shape[1]):
            for i in range(half):
                a, b = x[m, h, i * step], x[m, h, i * step + stride]
                x[m, h, i * step] = a * cos[m, i] - b * sin[m, i]
                x[m, h, i * step + stride] = a * sin[m, i] + b * cos[m, i]
