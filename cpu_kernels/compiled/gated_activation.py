"""Gated activations of a feed-forward block: SwiGLU and GeGLU."""

import numpy as np
from numba import prange

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.exponential import exp_f32
from slipstream.cpu_kernels.errors import expect_shape
from slipstream.cpu_kernels.reference.gated_activation import ACTIVATIONS

_PARALLEL_FROM = 65536  # elements; fewer take less time than waking the other threads
_GELU_LINEAR = np.float32(2 * np.sqrt(2 / np.pi))
_GELU_CUBIC = np.float32(2 * np.sqrt(2 / np.pi) * 0.044715)


def gated_activation(
    gate: np.ndarray, up: np.ndarray, activation: str, *, out: np.ndarray
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.gated_activation`."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {ACTIVATIONS}, got {activation!r}")
    expect_shape("up", up.shape, gate.shape)
    expect_shape("out", out.shape, gate.shape)
    run = _all_rows if gate.size >= _PARALLEL_FROM else _rows
    run(gate, up, activation == "gelu", out)
    return out


@kernel(fastmath={"contract", "nsz"}, error_model="numpy")
def _row(gate, up, is_gelu, out):
    if is_gelu:
        for i in range(gate.shape[0]):
            x = gate[i]
            slope = x * (_GELU_LINEAR + _GELU_CUBIC * x * x)
            out[i] = x / (np.float32(1.0) + exp_f32(-slope)) * up[i]
    else:
        for i in range(gate.shape[0]):
            x = gate[i]
            out[i] = x / (np.float32(1.0) + exp_f32(-x)) * up[i]


@kernel()
def _rows(gate, up, is_gelu, out):
    for m in range(gate.shape[0]):
        _row(gate[m], up[m], is_gelu, out[m])


@kernel(parallel=True)
def _all_rows(gate, up, is_gelu, out):
    for m in prange(gate.shape[0]):
        _row(gate[m], up[m], is_gelu, out[m])
