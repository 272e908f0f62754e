"""Root-mean-square normalisation of a row."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.compiler import kernel


@kernel(fastmath={"reassoc", "contract", "nsz"})
def norm_factor(row: Any, eps: Any) -> Any:
    """1 / sqrt(mean(row**2) + eps)."""
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
