"""Matrix product of activations with a weight."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_shape
from slipstream.cpu_kernels.reference.weight import Weight


def matmul(
    x: np.ndarray,
    weight: Weight,
    *,
    bias: np.ndarray | None = None,
    accumulate: bool = False,
    out: np.ndarray,
) -> np.ndarray:
    """out = x @ weight.T + bias, added to what `out` holds when `accumulate`.

    x      : (M, C) float32, C-contiguous
    weight : (N, C)
    bias   : (N,) float32
    out    : (M, N) float32, C-contiguous, written and returned
    Raises ShapeError when shapes do not fit.
    """
    expect_shape("x", x.shape, (x.shape[0], weight.columns))
    expect_shape("out", out.shape, (x.shape[0], weight.rows))
    product = x.astype(np.float64) @ weight.exact.T
    if bias is not None:
        expect_shape("bias", bias.shape, (weight.rows,))
        product += bias
    out[:] = product + out if accumulate else product
    return out
