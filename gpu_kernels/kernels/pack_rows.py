"""Makes of rows what a product is taken of, and rounds it to int8 for quantised weights."""

import triton
import triton.language as tl

from slipstream.cpu_kernels.row_source import AS_IS, NORM, SILU
from slipstream.gpu_kernels.kernels.row_steps import inverse_rms, rounded_to_int8

_AS_IS, _NORM, _SILU = tl.constexpr(AS_IS), tl.constexpr(NORM), tl.constexpr(SILU)


@triton.jit
def pack_rows(
    x,
    norm_weight,
    quants,
    scales,
    sums,
    made,
    columns,
    eps,
    SOURCE: tl.constexpr,
    QUANTISED: tl.constexpr,
    FLOATS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program (m, c): columns c BLOCK .. of row m.

    x           : (M, C) float32; (M, 2 C) for a gated activation
    norm_weight : (C,) float32, with SOURCE = NORM
    quants      : (M, C) int8, scales (M, C / 32), sums (M, C / 16) float32 when QUANTISED;
                  sums are of what was rounded: scale times the sum of 16 quants
    made        : (M, C) float32 when FLOATS
    """
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns
    if SOURCE == _AS_IS:
        value = tl.load(x + row * columns + at, mask=inside, other=0.0)
    elif SOURCE == _NORM:
        factor = inverse_rms(x + row * columns, columns, eps, BLOCK)
        value = tl.load(x + row * columns + at, mask=inside, other=0.0)
        value = value * factor * tl.load(norm_weight + at, mask=inside, other=0.0)
    else:
        gate = tl.load(x + row * 2 * columns + at, mask=inside, other=0.0)
        up = tl.load(x + row * 2 * columns + columns + at, mask=inside, other=0.0)
        slope = gate
        if SOURCE != _SILU:  # 2 sqrt(2 / pi)
            slope = 1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)
        value = tl.div_rn(gate, 1.0 + tl.exp(-slope)) * up
    if FLOATS:
        tl.store(made + row * columns + at, value, mask=inside)
    if QUANTISED:
        blocks, scale = rounded_to_int8(tl.reshape(value, (BLOCK // 32, 32)))
        tl.store(quants + row * columns + at, tl.reshape(blocks, (BLOCK,)).to(tl.int8), mask=inside)
        block = tl.program_id(1) * (BLOCK // 32) + tl.arange(0, BLOCK // 32)
        in_row = block < columns // 32
        tl.store(scales + row * (columns // 32) + block, scale, mask=in_row)
        half_sums = tl.sum(tl.reshape(blocks, (BLOCK // 32, 2, 16)), axis=2) * scale[:, None]
        half = block[:, None] * 2 + tl.arange(0, 2)[None, :]
        tl.store(sums + row * (columns // 16) + half, half_sums, mask=in_row[:, None])
