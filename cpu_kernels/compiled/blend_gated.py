"""A gated blend of two rows of numbers; of one with itself as gate, SiLU."""

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import BLEND_GATED
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.errors import expect_float32, expect_matrix, expect_output


def blend_gated(
    gate: np.ndarray, a: np.ndarray, b: np.ndarray | None = None, *, out: np.ndarray
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.blend_gated`."""
    num_rows, columns = expect_matrix("gate", gate.shape)
    expect_float32("gate", gate, gate.shape)
    expect_float32("a", a, gate.shape)
    if b is not None:
        expect_float32("b", b, gate.shape)
    expect_output("out", out, gate.shape)
    call = Call.of(
        load_kernel("blend_gated.blend_gated"),
        BLEND_GATED,
        gate=gate,
        a=a,
        b=b,
        num_rows=num_rows,
        columns=columns,
        out=out,
    )
    POOL.run(call)
    return out
