"""Gated activations of a feed-forward block: SwiGLU and GeGLU."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_shape

ACTIVATIONS = ("silu", "gelu")


def gated_activation(
    gate: np.ndarray, up: np.ndarray, activation: str, *, out: np.ndarray
) -> np.ndarray:
    """out = activation(gate) * up, written into `out` and returned.

    silu(x) = x / (1 + exp(-x)); gelu(x) = x / (1 + exp(-2 u)), u = sqrt(2/pi) (x + 0.044715 x**3),
    which is the tanh form.

    gate, up, out : (M, F) float32, C-contiguous; `out` may be `gate`
    Raises ShapeError when shapes differ, ValueError for another activation.
    Source: arXiv:2002.05202.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {ACTIVATIONS}, got {activation!r}")
    expect_shape("up", up.shape, gate.shape)
    expect_shape("out", out.shape, gate.shape)
    x = gate.astype(np.float64)
    slope = x if activation == "silu" else 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    out[:] = x / (1 + np.exp(-np.clip(slope, -700, 700))) * up
    return out
