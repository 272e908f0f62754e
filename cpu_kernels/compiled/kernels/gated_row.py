"""Gated activations of a feed-forward block: SwiGLU and GeGLU."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.exponential import exp_f32

_GELU_LINEAR = np.float32(2 * np.sqrt(2 / np.pi))
_GELU_CUBIC = np.float32(2 * np.sqrt(2 / np.pi) * 0.044715)


@kernel(fastmath={"contract", "nsz"})
def gated_row(gate: Any, up: Any, is_gelu: Any, out: Any) -> None:
    """As `slipstream.cpu_kernels.reference.gated_activation`, for one row."""
    if is_gelu:
        for i in range(gate.shape[0]):
            x = gate[i]
            slope = x * (_GELU_LINEAR + _GELU_CUBIC * x * x)
            out[i] = x / (np.float32(1.0) + exp_f32(-slope)) * up[i]
    else:
        for i in range(gate.shape[0]):
            x = gate[i]
            out[i] = x / (np.float32(1.0) + exp_f32(-x)) * up[i]
