"""Root-mean-square normalisation."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_shape


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float, *, out: np.ndarray) -> np.ndarray:
    """out[m] = x[m] * weight / sqrt(mean(x[m]**2) + eps), written into `out` and returned.

    x, out : (M, C) float32, C-contiguous; may be the same array
    weight : (C,) float32
    Raises ShapeError when C differs. Source: arXiv:1910.07467, eq. 4.
    """
    expect_shape("weight", weight.shape, (x.shape[1],))
    expect_shape("out", out.shape, x.shape)
    wide = x.astype(np.float64)
    out[:] = wide * weight / np.sqrt((wide**2).mean(axis=1, keepdims=True) + eps)
    return out
