"""Products of packed queries with a block of keys, on matrix units.

The keys are BLOCK_KEYS of one page, counted over all pages and heads, from the place `offset` on.
Those past a sequence's end may be anything: a score depends on no other key. place (BLOCK_Q,) int64
is a query's among all rows and heads.
"""

import triton
import triton.language as tl

_SIGNS = tl.constexpr(-0x7F7F7F80)  # the upper bit of each byte: int8 + 128 becomes int8
_HALF_SIGNS = tl.constexpr(-0x77777778)  # of each half of a byte: int4 + 8 becomes int4
_CHUNK = tl.constexpr(64)  # dimensions that are held at a time


@triton.jit
def scores_of_float16(
    high,
    low,
    scales,
    place,
    in_use,
    keys,
    page,
    offset,
    HEAD_SIZE: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Scores (BLOCK_Q, BLOCK_KEYS) float32: scales * (high + low) . keys; see `pack_queries`."""
    CHUNK: tl.constexpr = min(_CHUNK, BLOCK_D)
    key_id = tl.arange(0, BLOCK_KEYS)
    keys += page * (HEAD_SIZE * PAGE_SIZE) + offset
    products = tl.zeros((BLOCK_Q, BLOCK_KEYS), tl.float32)
    rest = tl.zeros((BLOCK_Q, BLOCK_KEYS), tl.float32)
    for first in tl.static_range(0, BLOCK_D, CHUNK):
        d = first + tl.arange(0, CHUNK)
        at = d[:, None] * PAGE_SIZE + key_id[None, :]
        key = tl.load(keys + at, mask=(d < HEAD_SIZE)[:, None], other=0.0)
        at = place[:, None] * BLOCK_D + d[None, :]
        products = tl.dot(tl.load(high + at, mask=in_use[:, None], other=0.0), key, products)
        rest = tl.dot(tl.load(low + at, mask=in_use[:, None], other=0.0), key, rest)
    rest = tl.where(rest - rest == 0, rest, 0.0)  # an infinite key's score is that of `high`
    return (products + rest) * tl.load(scales + place, mask=in_use, other=0.0)[:, None]


@triton.jit
def scores_of_quantised(
    quants,
    scales,
    place,
    in_use,
    keys,
    key_scales,
    page,
    offset,
    HEAD_SIZE: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BITS: tl.constexpr,
    IN_INT8: tl.constexpr,
):
    """Scores (BLOCK_Q, BLOCK_KEYS) float32, summed over blocks of 32 dimensions in their order.

    Keys are of BITS, 8 or 4. Sums of 32 products are exact integers, also where the products are of
    float16 instead, with sums in float32: without IN_INT8, for Turing.
    """
    k, word, key_id = tl.arange(0, 32), tl.arange(0, BITS), tl.arange(0, BLOCK_KEYS)
    keys += page * (HEAD_SIZE // 32 * BITS * PAGE_SIZE) + offset
    key_scales += page * (HEAD_SIZE // 32 * PAGE_SIZE) + offset
    total = tl.zeros((BLOCK_Q, BLOCK_KEYS), tl.float32)
    for block in range(HEAD_SIZE // 32):
        at = (block * BITS + word)[None, :] * PAGE_SIZE + key_id[:, None]
        key = tl.trans(_unpacked(tl.load(keys + at), BITS, BLOCK_KEYS))
        query = tl.load(
            quants + place[:, None] * BLOCK_D + (block * 32 + k)[None, :],
            mask=in_use[:, None],
            other=0,
        )
        if IN_INT8:
            products = tl.dot(query, key, out_dtype=tl.int32).to(tl.float32)
        else:
            products = tl.dot(query.to(tl.float16), key.to(tl.float16))
        key_scale = tl.load(key_scales + block * PAGE_SIZE + key_id)
        scale = tl.load(scales + place * (BLOCK_D // 32) + block, mask=in_use, other=0.0)
        total += products * (scale[:, None] * key_scale.to(tl.float32)[None, :])
    return total


@triton.jit
def _unpacked(words, BITS: tl.constexpr, BLOCK_KEYS: tl.constexpr):
    """One block of keys in words (BLOCK_KEYS, BITS) as int8 (BLOCK_KEYS, 32); see `KVPages`."""
    shifts = tl.arange(0, 4) * 8
    if BITS == 8:
        keys = (words ^ _SIGNS)[:, :, None] >> shifts[None, None, :]
    else:
        shifts = tl.arange(0, 2)[:, None] * 4 + shifts[None, :]
        keys = (words ^ _HALF_SIGNS)[:, None, :, None] >> shifts[None, :, None, :]
        keys = (keys << 28) >> 28  # the lowest 4 bits with their sign
    return tl.reshape(keys.to(tl.int8), (BLOCK_KEYS, 32))
