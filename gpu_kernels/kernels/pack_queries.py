"""Packs queries as the matrix units take them that multiply them by keys."""

import triton
import triton.language as tl

from slipstream.gpu_kernels.kernels.float16_halves import (
    halves,
    inverse_power,
    power_of_two_below,
)
from slipstream.gpu_kernels.kernels.hadamard import FROM_PAGES, hadamard
from slipstream.gpu_kernels.kernels.row_steps import rounded_to_int8

_LARGEST = tl.constexpr(16384.0)  # numbers of a query are below twice that


@triton.jit
def pack_queries(
    q,
    high,
    low,
    scales,
    scale,
    HEAD_SIZE: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Program p: query p of all rows and heads, times `scale`; zeros past its dimensions.

    BITS   : of the numbers of keys; those of 16 meet float16 halves, others int8
    q      : (M, H, D) float32
    high   : (M, H, BLOCK_D) float16, or int8
    low    : (M, H, BLOCK_D) float16, not written for int8
    scales : (M, H) float32, or (M, H, BLOCK_D / 32) for int8
    scale * q = scales * (high + low), and scales * high in int8. A power of two for each query
    keeps it within float16. Int8 is rounded as on the CPU, so that the devices agree; for keys of
    4 bits a query goes through their transform first.
    """
    query = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    x = scale * tl.load(q + query * HEAD_SIZE + d, mask=d < HEAD_SIZE, other=0.0)
    at = query * BLOCK_D + d
    if BITS < 16:
        blocks = tl.reshape(x, (BLOCK_D // 32, 32))
        if BITS == 4:
            blocks = hadamard(blocks, FROM_PAGES)
        quants, steps = rounded_to_int8(blocks)
        tl.store(high + at, tl.reshape(quants, (BLOCK_D,)).to(tl.int8))
        tl.store(scales + query * (BLOCK_D // 32) + tl.arange(0, BLOCK_D // 32), steps)
    else:
        power = power_of_two_below(tl.max(tl.abs(x), axis=0))
        this_high, this_low = halves(x * inverse_power(power) * _LARGEST)
        tl.store(high + at, this_high)
        tl.store(low + at, this_low)
        tl.store(scales + query, power / _LARGEST)
