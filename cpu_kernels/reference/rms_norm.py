"""Root-mean-square normalisation."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_shape
from slipstream.cpu_kernels.norm import RmsNorm


def rms_norm(
    x: np.ndarray, norm: RmsNorm, *, accumulate: bool = False, out: np.ndarray
) -> np.ndarray:
    """out[m] = x[m] * weight / sqrt(mean(x[m]**2) + eps), added to `out` when `accumulate`.

    x, out : (M, C) float32, C-contiguous; may be the same array. `out` is returned
    Raises ShapeError when C differs. Source: arXiv:1910.07467, eq. 4.
    """
    expect_shape("weight", norm.weight.shape, (x.shape[1],))
    expect_shape("out", out.shape, x.shape)
    wide = x.astype(np.float64)
    normed = wide * norm.weight / np.sqrt((wide**2).mean(axis=1, keepdims=True) + norm.eps)
    out[:] = out + normed if accumulate else normed
    return out
