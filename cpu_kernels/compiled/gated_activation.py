"""Gated activations of a feed-forward block: SwiGLU and GeGLU."""

import numpy as np

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.exponential import exp_f32
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.work_sharing import outline, run_items
from slipstream.cpu_kernels.errors import expect_shape
from slipstream.cpu_kernels.reference.gated_activation import ACTIVATIONS

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
    POOL.run(_gated, gate, up, activation == "gelu", out)
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
def _row_of(m, gate, up, is_gelu, out):
    _row(gate[m], up[m], is_gelu, out[m])


@kernel()
def _gated(state, gate, up, is_gelu, out):
    run_items(state, outline(_row_of, (gate, up, is_gelu, out)), gate.shape[0])
