"""The kernel of `blend_gated`."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import floats_at, record_at
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.exponential import exp_f32
from slipstream.cpu_kernels.compiled.records import BLEND_GATED

_ONE = np.float32(1.0)
_record_at = record_at(BLEND_GATED)


@kernel()
def blend_gated(_state: Any, record: Any) -> None:
    """Blend the rows on this thread: there are few, and they are short."""
    r = _record_at(record)
    shape = (r.num_rows, r.columns)
    gate, a, out = floats_at(r.gate, shape), floats_at(r.a, shape), floats_at(r.out, shape)
    if r.b:
        b = floats_at(r.b, shape)
        for m in range(r.num_rows):
            _blend_row(gate[m], a[m], b[m], out[m])
    else:
        for m in range(r.num_rows):
            _gate_row(gate[m], a[m], out[m])


@kernel(fastmath={"contract", "nsz"})
def _blend_row(gate: Any, a: Any, b: Any, out: Any) -> None:
    for c in range(gate.shape[0]):
        z = _opening(gate[c])
        out[c] = z * a[c] + (_ONE - z) * b[c]


@kernel(fastmath={"contract", "nsz"})
def _gate_row(gate: Any, a: Any, out: Any) -> None:
    for c in range(gate.shape[0]):
        out[c] = _opening(gate[c]) * a[c]


@kernel(fastmath={"contract", "nsz"}, inline="always")
def _opening(x: Any) -> Any:
    """1 / (1 + exp(-x)); NaN stays NaN, of which exp_f32 makes a number."""
    z = _ONE / (_ONE + exp_f32(-x))
    return z if x == x else x
