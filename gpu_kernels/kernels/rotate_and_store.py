"""Norms and rotates the heads of queries and keys, and stores keys and values in their pages."""

import triton
import triton.language as tl

from slipstream.gpu_kernels.kernels.hadamard import TO_PAGES, hadamard
from slipstream.gpu_kernels.kernels.row_steps import inverse_rms, rounded_to_int4, rounded_to_int8


@triton.jit
def rotate_and_store(
    qkv,
    cos,
    sin,
    page_ids,
    offsets,
    query_weight,
    key_weight,
    query_eps,
    key_eps,
    keys,
    values,
    key_scales,
    value_scales,
    out,
    num_heads,
    num_kv_heads,
    half,
    page_size,
    HEAD_SIZE: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    QUERY_NORM: tl.constexpr,
    KEY_NORM: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program (m, h): head h of row m; the queries' heads first, then the keys', the values'.

    As the reference's `rotate_and_store`; pages as in `slipstream.cpu_kernels.KVPages`, their
    numbers of BITS.
    """
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    first = qkv + (row * (num_heads + 2 * num_kv_heads) + head) * HEAD_SIZE
    d = tl.arange(0, BLOCK)
    inside = d < HEAD_SIZE
    angles = row * half
    if head < num_heads:
        value = _rotated(
            first, cos + angles, sin + angles, query_weight, query_eps, half, HEAD_SIZE,
            INTERLEAVED, QUERY_NORM, BLOCK
        )  # fmt: skip
        tl.store(out + (row * num_heads + head) * HEAD_SIZE + d, value, mask=inside)
    else:
        page = tl.load(page_ids + row).to(tl.int64)
        offset = tl.load(offsets + row)
        if head < num_heads + num_kv_heads:
            value = _rotated(
                first, cos + angles, sin + angles, key_weight, key_eps, half, HEAD_SIZE,
                INTERLEAVED, KEY_NORM, BLOCK
            )  # fmt: skip
            place = page * num_kv_heads + head - num_heads
            if BITS == 16:
                at = (place * HEAD_SIZE + d) * page_size + offset
                tl.store(keys + at, value.to(tl.float16), mask=inside)
            else:
                _store_key_blocks(
                    value, keys, key_scales, place, offset, page_size, HEAD_SIZE, BITS, BLOCK
                )
        else:
            value = tl.load(first + d, mask=inside, other=0.0)
            place = page * num_kv_heads + head - num_heads - num_kv_heads
            if BITS == 16:
                at = (place * page_size + offset) * HEAD_SIZE + d
                tl.store(values + at, value.to(tl.float16), mask=inside)
            else:
                _store_value_blocks(
                    value, values, value_scales, place * page_size + offset, HEAD_SIZE, BITS, BLOCK
                )


@triton.jit
def _rotated(
    first,
    cos,
    sin,
    weight,
    eps,
    half,
    HEAD_SIZE: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    NORM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The head at the address `first`, normed and rotated, (BLOCK,) float32.

    Each dimension is turned with its partner: (a, b) -> (a cos - b sin, b cos + a sin).
    """
    d = tl.arange(0, BLOCK)
    inside, is_turned = d < HEAD_SIZE, d < 2 * half
    if INTERLEAVED:
        is_first, partner, angle = d % 2 == 0, d ^ 1, d // 2
    else:
        is_first = d < half
        partner = tl.where(is_first, d + half, d - half)
        angle = tl.where(is_first, d, d - half)
    value = tl.load(first + d, mask=inside, other=0.0)
    other = tl.load(first + partner, mask=is_turned, other=0.0)
    if NORM:
        factor = inverse_rms(first, HEAD_SIZE, eps, BLOCK)
        value = value * factor * tl.load(weight + d, mask=inside, other=0.0)
        other = other * factor * tl.load(weight + partner, mask=is_turned, other=0.0)
    c = tl.load(cos + angle, mask=is_turned, other=1.0)
    s = tl.load(sin + angle, mask=is_turned, other=0.0)
    turned = value * c + tl.where(is_first, -other, other) * s
    return tl.where(is_turned, turned, value)


@triton.jit
def _store_key_blocks(
    value,
    keys,
    scales,
    place,
    offset,
    page_size,
    HEAD_SIZE: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    stored, scale = _stored_blocks(value, BITS, BLOCK)
    block, word = tl.arange(0, BLOCK // 32), tl.arange(0, BLOCK * BITS // 32)
    shifts = tl.arange(0, 4) * 8
    four = tl.reshape(stored + (128 if BITS == 8 else 0), (BLOCK * BITS // 32, 4))
    words = tl.sum(four << shifts[None, :], axis=1)
    at = (place * (HEAD_SIZE * BITS // 32) + word) * page_size + offset
    tl.store(keys + at, words, mask=word < HEAD_SIZE * BITS // 32)
    at = (place * (HEAD_SIZE // 32) + block) * page_size + offset
    tl.store(scales + at, scale, mask=block < HEAD_SIZE // 32)


@triton.jit
def _store_value_blocks(
    value, values, scales, place, HEAD_SIZE: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr
):
    stored, scale = _stored_blocks(value, BITS, BLOCK)
    block, byte = tl.arange(0, BLOCK // 32), tl.arange(0, BLOCK * BITS // 8)
    numbers = tl.reshape(stored, (BLOCK * BITS // 8,)).to(values.dtype.element_ty)
    at = place * (HEAD_SIZE * BITS // 8) + byte
    tl.store(values + at, numbers, mask=byte < HEAD_SIZE * BITS // 8)
    at = place * (HEAD_SIZE // 32) + block
    tl.store(scales + at, scale, mask=block < HEAD_SIZE // 32)


@triton.jit
def _stored_blocks(value, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """A head (BLOCK,) as blocks of int8, or of bytes with two numbers of int4 each, and scales.

    (BLOCK / 32, 4 BITS) int32 and (BLOCK / 32,) float16
    """
    blocks = tl.reshape(value, (BLOCK // 32, 32))
    if BITS == 8:
        quants, scale = rounded_to_int8(blocks)
        stored = quants.to(tl.int32)
    else:
        quants, scale = rounded_to_int4(hadamard(blocks, TO_PAGES))
        unsigned = tl.reshape(quants.to(tl.int32) + 8, (BLOCK // 32, 2, 16))
        shifts = tl.arange(0, 2) * 4
        stored = tl.sum(unsigned << shifts[None, :, None], axis=1)
    return stored, _float16_scale(scale)


@triton.jit
def _float16_scale(scale):
    """NaN beyond float16: infinity times a rounding residue could look like a lost key."""
    half = scale.to(tl.float16)
    return tl.where(tl.abs(half) == float("inf"), float("nan"), half).to(tl.float16)
