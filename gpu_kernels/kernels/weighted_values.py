"""Sums of a block's values with float32 weights, on matrix units.

Weights (BLOCK_Q, BLOCK_KEYS) are given as float16 halves. The values lie one after another from
`place` on, counted over all pages, heads and offsets; those that are not `inside` count as zero.
Zero times what is not finite would reach all queries: such numbers count as zero too, and `broken`
(BLOCK_KEYS,) says which keys have any.
"""

import triton
import triton.language as tl

from slipstream.gpu_kernels.kernels.float16_halves import (
    halves,
    inverse_power,
    power_of_two_below,
)

_LARGEST = tl.constexpr(128.0)  # times int8 and the rest of a scale, below 2: within float16


@triton.jit
def weighted_float16_values(
    weights_high,
    weights_low,
    values,
    place,
    inside,
    HEAD_SIZE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Sums (BLOCK_Q, BLOCK_D) float32 over keys, and `broken`."""
    key_id, d = tl.arange(0, BLOCK_KEYS), tl.arange(0, BLOCK_D)
    wanted = inside[:, None] & (d < HEAD_SIZE)[None, :]
    at = key_id[:, None] * HEAD_SIZE + d[None, :]
    value = tl.load(values + place * HEAD_SIZE + at, mask=wanted, other=0.0)
    is_finite = value - value == 0
    value = tl.where(is_finite, value, 0.0)
    products = tl.dot(weights_high, value, tl.dot(weights_low, value))
    return products, tl.min(is_finite.to(tl.int32), axis=1) == 0


@triton.jit
def weighted_quantised_values(
    weights_high,
    weights_low,
    values,
    scales,
    place,
    inside,
    HEAD_SIZE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BITS: tl.constexpr,
):
    """As `weighted_float16_values` for values of BITS, 8 or 4, with scales of 32 dimensions.

    int8 times a float16 scale has 19 bits, int4 14: two float16 halves hold it exactly, once the
    largest scale of the block is brought near 1 by a power of two, unless a scale is below 2**-21
    of it.
    """
    key_id, block = tl.arange(0, BLOCK_KEYS), tl.arange(0, BLOCK_D // 32)
    scales += place * (HEAD_SIZE // 32)
    values += place * (HEAD_SIZE * BITS // 8)
    wanted = inside[:, None] & (block < HEAD_SIZE // 32)[None, :]
    at = key_id[:, None] * (HEAD_SIZE // 32) + block[None, :]
    scale = tl.load(scales + at, mask=wanted, other=0.0).to(tl.float32)
    is_finite = scale - scale == 0
    scale = tl.where(is_finite, scale, 0.0)
    power = power_of_two_below(tl.max(tl.abs(scale)))
    scale *= inverse_power(power) * _LARGEST
    quants = _quants(values, key_id, block, wanted, HEAD_SIZE, BITS)
    value = tl.reshape(quants * scale[:, :, None], (BLOCK_KEYS, BLOCK_D))
    high, low = halves(value)
    products = tl.dot(weights_high, low)
    products = tl.dot(weights_low, high, products)
    products = tl.dot(weights_high, high, products) * (power / _LARGEST)
    return products, tl.min(is_finite.to(tl.int32), axis=1) == 0


@triton.jit
def _quants(values, key_id, block, wanted, HEAD_SIZE: tl.constexpr, BITS: tl.constexpr):
    """Whole numbers (BLOCK_KEYS, BLOCK_D / 32, 32) float32 of these keys; see `KVPages`."""
    byte = tl.arange(0, 4 * BITS)
    at = key_id[:, None, None] * (HEAD_SIZE * BITS // 8)
    at += (block[:, None] * (4 * BITS) + byte[None, :])[None, :, :]
    stored = tl.load(values + at, mask=wanted[:, :, None], other=0)
    if BITS == 4:
        both = tl.permute(tl.join(stored & 15, stored >> 4), (0, 1, 3, 2))
        stored = tl.reshape(both, (key_id.shape[0], block.shape[0], 32)).to(tl.int8) - 8
    return stored.to(tl.float32)
