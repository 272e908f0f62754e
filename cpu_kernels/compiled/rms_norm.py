"""Root-mean-square normalisation."""

import numpy as np

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.errors import expect_shape


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float, *, out: np.ndarray) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.rms_norm`."""
    expect_shape("weight", weight.shape, (x.shape[1],))
    expect_shape("out", out.shape, x.shape)
    _rms_norm(x, weight, eps, out)
    return out


@kernel(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _rms_norm(x, weight, eps, out):
    for m in range(x.shape[0]):
        total = np.float32(0.0)
        for c in range(x.shape[1]):
            total += x[m, c] * x[m, c]
        factor = np.float32(1.0 / np.sqrt(np.float64(total) / x.shape[1] + eps))
        for c in range(x.shape[1]):
            out[m, c] = x[m, c] * factor * weight[c]
