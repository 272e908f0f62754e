"""Matrix product of activations with a weight."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_shape
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.reference.gated_activation import ACTIVATIONS, gated_activation
from slipstream.cpu_kernels.reference.rms_norm import rms_norm
from slipstream.cpu_kernels.reference.weight import Weight


def matmul(
    x: np.ndarray,
    weight: Weight,
    *,
    norm: RmsNorm | None = None,
    activation: str | None = None,
    bias: np.ndarray | None = None,
    accumulate: bool = False,
    out: np.ndarray,
) -> np.ndarray:
    """out = h @ weight.T + bias, added to what `out` holds when `accumulate`.

    h = norm(x) with a norm, activation(x[:, :C]) * x[:, C:] with an activation, else x.

    x      : (M, C) float32, C-contiguous; (M, 2 C) with an activation
    weight : (N, C)
    bias   : (N,) float32
    out    : (M, N) float32, C-contiguous, written and returned
    Raises ShapeError when shapes do not fit, ValueError for an unknown activation or for both.
    """
    check_source(norm, activation)
    columns = weight.columns * (1 if activation is None else 2)
    expect_shape("x", x.shape, (x.shape[0], columns))
    expect_shape("out", out.shape, (x.shape[0], weight.rows))
    h = x.astype(np.float64)
    if norm is not None:
        h = rms_norm(h, norm, out=np.empty_like(h))
    if activation is not None:
        gate, up = np.split(h, 2, axis=1)
        h = gated_activation(gate, up, activation, out=np.empty_like(gate))
    product = h @ weight.exact.T
    if bias is not None:
        expect_shape("bias", bias.shape, (weight.rows,))
        product += bias
    out[:] = product + out if accumulate else product
    return out


def check_source(norm: RmsNorm | None, activation: str | None) -> None:
    """Raise ValueError for a norm together with an activation, or an unknown one."""
    if norm is not None and activation is not None:
        raise ValueError("matmul: expected a norm or an activation, got both")
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {ACTIVATIONS}, got {activation!r}")
