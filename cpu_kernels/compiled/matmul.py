"""Matrix product of activations with a packed weight, on all threads."""

import threading

import numpy as np

from slipstream.cpu_kernels.compiled.buffers import aligned_empty
from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.packed_rows import packed_bytes
from slipstream.cpu_kernels.compiled.records import MATMUL
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.weight import Weight
from slipstream.cpu_kernels.errors import expect_float32, expect_output
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.panel_format import PANEL_ROWS
from slipstream.cpu_kernels.reference.matmul import check_source
from slipstream.cpu_kernels.row_source import row_source

_ZEROS = np.zeros(PANEL_ROWS, np.float32)
_scratch = threading.local()


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
    """As `slipstream.cpu_kernels.reference.matmul`.

    Quantised weights meet activations rounded to int8, 32 columns a scale. Row m of the result is
    bit-identical whatever M is.
    """
    check_source(norm, activation)
    num_rows, columns = x.shape[0], weight.columns
    expect_float32("x", x, (num_rows, 2 * columns if activation else columns))
    expect_output("out", out, (num_rows, weight.rows))
    if norm is not None:
        expect_float32("norm", norm.weight, (columns,))
    if bias is not None:
        expect_float32("bias", bias, (weight.rows,))
    call = Call.of(
        load_kernel("matmul.matmul"),
        MATMUL,
        weight,
        x=x,
        num_rows=num_rows,
        columns=columns,
        source=row_source(norm, activation),
        norm_weight=None if norm is None else norm.weight,
        eps=0.0 if norm is None else norm.eps,
        forms=weight.forms,
        packed=_packed(packed_bytes(num_rows, columns, weight.forms)),
        parts=weight.table,
        num_parts=len(weight.parts),
        num_threads=POOL.num_threads,
        bias=bias,
        zeros=_ZEROS,
        accumulate=accumulate,
        out=out,
        out_columns=weight.rows,
    )
    POOL.run(call)
    return out


def _packed(num_bytes: int) -> np.ndarray:
    """A thread's own scratch array, kept between calls."""
    held = getattr(_scratch, "packed", None)
    if held is None or held.size < num_bytes:
        held = _scratch.packed = aligned_empty(num_bytes)
    return held
