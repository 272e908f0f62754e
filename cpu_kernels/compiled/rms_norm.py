"""Root-mean-square normalisation."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.errors import expect_shape
from slipstream.cpu_kernels.norm import RmsNorm


def rms_norm(
    x: np.ndarray, norm: RmsNorm, *, accumulate: bool = False, out: np.ndarray
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.rms_norm`."""
    expect_shape("weight", norm.weight.shape, (x.shape[1],))
    expect_shape("out", out.shape, x.shape)
    _rms_norm(x, norm.weight, norm.eps, accumulate, out)
    return out


@kernel(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def norm_factor(row: Any, eps: Any) -> Any:
    """What a row is multiplied with, beside the weight."""
    total = np.float32(0.0)
    for c in range(row.shape[0]):
        total += row[c] * row[c]
    return np.float32(1.0 / np.sqrt(np.float64(total) / row.shape[0] + eps))


@kernel()
def norm_row(row: Any, weight: Any, eps: Any, out: Any) -> None:
    """out = row * factor * weight; `out` may be `row`."""
    factor = norm_factor(row, eps)
    for c in range(row.shape[0]):
        out[c] = row[c] * factor * weight[c]


@kernel()
def _rms_norm(x, weight, eps, accumulate, out):
    for m in range(x.shape[0]):
        if accumulate:
            factor = norm_factor(x[m], eps)
            for c in range(x.shape[1]):
                out[m, c] += x[m, c] * factor * weight[c]
        else:
            norm_row(x[m], weight, eps, out[m])
