"""Root-mean-square normalisation."""

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import RMS_NORM
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.errors import expect_float32, expect_output
from slipstream.cpu_kernels.norm import RmsNorm


def rms_norm(
    x: np.ndarray, norm: RmsNorm, *, accumulate: bool = False, out: np.ndarray
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.rms_norm`."""
    num_rows, columns = x.shape
    expect_float32("x", x, x.shape)
    expect_float32("weight", norm.weight, (columns,))
    expect_output("out", out, x.shape)
    call = Call.of(
        load_kernel("rms_norm.rms_norm"),
        RMS_NORM,
        x=x,
        num_rows=num_rows,
        columns=columns,
        weight=norm.weight,
        eps=norm.eps,
        accumulate=accumulate,
        out=out,
    )
    POOL.run(call)
    return out
