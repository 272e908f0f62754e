"""Rotary position embedding."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_shape


def rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, *, interleaved: bool) -> np.ndarray:
    """Rotate pairs of each head's first 2R dimensions, in place.

    (a, b) -> (a cos - b sin, a sin + b cos)

    x        : (M, H, D) float32, C-contiguous, changed and returned
    cos, sin : (M, R) float32, of position times frequency, R <= D / 2
    Pair i is dimensions (2i, 2i + 1) when `interleaved`, else (i, i + R).
    Raises ShapeError when shapes do not fit. Source: arXiv:2104.09864, eq. 34.
    """
    num_rows, half = cos.shape
    expect_shape("sin", sin.shape, cos.shape)
    expect_shape("x", x.shape, (num_rows, x.shape[1], max(x.shape[2], 2 * half)))
    first = slice(0, 2 * half, 2) if interleaved else slice(0, half)
    second = slice(1, 2 * half, 2) if interleaved else slice(half, 2 * half)
    a, b = x[..., first].astype(np.float64), x[..., second].astype(np.float64)
    c, s = cos[:, None, :].astype(np.float64), sin[:, None, :].astype(np.float64)
    x[..., first] = a * c - b * s
    x[..., second] = a * s + b * c
    return x
