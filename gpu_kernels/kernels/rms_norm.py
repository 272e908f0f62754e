"""Root-mean-square norm of rows."""

import triton
import triton.language as tl

from slipstream.gpu_kernels.kernels.row_steps import inverse_rms


@triton.jit
def rms_norm(x, weight, out, columns, eps, ACCUMULATE: tl.constexpr, BLOCK: tl.constexpr):
    """Program m: row m of x and out (M, C) float32, which may be the same."""
    row = tl.program_id(0).to(tl.int64) * columns
    factor = inverse_rms(x + row, columns, eps, BLOCK)
    for first in range(0, columns, BLOCK):
        at = first + tl.arange(0, BLOCK)
        inside = at < columns
        value = tl.load(x + row + at, mask=inside, other=0.0)
        value = value * factor * tl.load(weight + at, mask=inside, other=0.0)
        if ACCUMULATE:
            value += tl.load(out + row + at, mask=inside, other=0.0)
        tl.store(out + row + at, value, mask=inside)
