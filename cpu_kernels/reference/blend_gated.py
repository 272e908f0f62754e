"""A gated blend of two rows of numbers; of one with itself as gate, SiLU."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_matrix, expect_shape


def blend_gated(
    gate: np.ndarray, a: np.ndarray, b: np.ndarray | None = None, *, out: np.ndarray
) -> np.ndarray:
    """out = z * a + (1 - z) * b, z = 1 / (1 + exp(-gate)); without b, out = z * a.

    Far from 0 a gate lets exactly a or b through. With a as its own gate and without b it is
    silu(a).

    gate, a, b, out : (M, C) float32, C-contiguous; `out` may be any of them, and is returned
    Raises ShapeError when shapes differ. Source: arXiv:2412.18934, section 3.2.
    """
    expect_matrix("gate", gate.shape)
    for name, array in (("a", a), ("b", b), ("out", out)):
        if array is not None:
            expect_shape(name, array.shape, gate.shape)
    z = 1 / (1 + np.exp(-np.clip(gate.astype(np.float64), -700, 700)))
    out[:] = z * a if b is None else z * a + (1 - z) * b
    return out
