"""The kernel of `rotate_and_store`."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    address_of,
    floats_at,
    ints_at,
    record_at,
    round_f32,
    store_byte,
    store_half,
    to_int32,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.hadamard import hadamard
from slipstream.cpu_kernels.compiled.kernels.norm_row import norm_row
from slipstream.cpu_kernels.compiled.kernels.scratch import borrow
from slipstream.cpu_kernels.compiled.kernels.work_sharing import item_function, run_items
from slipstream.cpu_kernels.compiled.records import ROTATE_AND_STORE
from slipstream.cpu_kernels.kv_pages import KV_BLOCK_DIMENSIONS, KV_LAYOUT, TO_PAGES

_ROWS_AN_ITEM = 8
_TOO_LARGE = np.float32(65520.0)  # rounds to infinity in float16
_TO_PAGES = np.float32(TO_PAGES)
_LARGEST, _OFFSET, _HALF_BYTE = np.int32(7), np.int32(8), np.int32(4)  # of int4
_record_at = record_at(ROTATE_AND_STORE)
_kv_at = record_at(KV_LAYOUT)


@kernel()
def rotate_and_store(state: Any, record: Any) -> None:
    """Items are some rows."""
    num_rows = _record_at(record).num_rows
    run_items(state, item_function(_rows), record, -(-num_rows // _ROWS_AN_ITEM))


@kernel()
def _rows(item, record, scratch):
    r = _record_at(record)
    kv = _kv_at(r.kv)
    num_kv_heads, size = kv.num_heads, kv.head_size
    width = (r.num_heads + 2 * num_kv_heads) * size
    page_ids, offsets = ints_at(r.page_ids, (r.num_rows,)), ints_at(r.offsets, (r.num_rows,))
    out = floats_at(r.out, (r.num_rows, r.num_heads, size))
    space = borrow(scratch, 4 * (size + KV_BLOCK_DIMENSIONS))
    key, block = floats_at(space, (size,)), floats_at(space + 4 * size, (KV_BLOCK_DIMENSIONS,))
    for m in range(item * _ROWS_AN_ITEM, min((item + 1) * _ROWS_AN_ITEM, r.num_rows)):
        row = floats_at(r.qkv + 4 * m * width, (width,))
        cos = floats_at(r.cos + 4 * m * r.half, (r.half,))
        sin = floats_at(r.sin + 4 * m * r.half, (r.half,))
        page, offset = np.int64(page_ids[m]), np.int64(offsets[m])
        for h in range(r.num_heads):
            head = row[h * size : (h + 1) * size]
            _norm_and_rotate(head, r.query_norm, r.query_eps, cos, sin, r.interleaved, out[m, h])
        for h in range(num_kv_heads):
            at = (r.num_heads + h) * size
            head = row[at : at + size]
            _norm_and_rotate(head, r.key_norm, r.key_eps, cos, sin, r.interleaved, key)
            at += num_kv_heads * size
            value = row[at : at + size]
            if kv.bits == 16:
                _store_float16(key, value, kv, page * num_kv_heads + h, offset)
            else:
                _store_blocks(key, value, kv, page * num_kv_heads + h, offset, block)


@kernel()
def _norm_and_rotate(
    head: Any, norm: Any, eps: Any, cos: Any, sin: Any, interleaved: Any, out: Any
) -> None:
    """Both for one head; dimensions past the rotated ones are copied. `norm` is an address or 0."""
    if norm:
        norm_row(head, floats_at(norm, (head.shape[0],)), eps, out)
    else:
        for d in range(head.shape[0]):
            out[d] = head[d]
    half = cos.shape[0]
    step, stride = (2, 1) if interleaved else (1, half)
    for i in range(half):
        a, b = out[i * step], out[i * step + stride]
        out[i * step] = a * cos[i] - b * sin[i]
        out[i * step + stride] = a * sin[i] + b * cos[i]


@kernel()
def _store_float16(key, value, kv, page, offset):
    """`page` counts pages of one head."""
    size, page_size = kv.head_size, kv.page_size
    key_at = kv.keys + 2 * (page * size * page_size + offset)
    value_at = kv.values + 2 * (page * page_size + offset) * size
    for d in range(size):
        store_half(key_at + 2 * d * page_size, key[d])
        store_half(value_at + 2 * d, value[d])


@kernel()
def _store_blocks(key, value, kv, page, offset, block):
    """As `_store_float16` in 8 or 4 bits; `block` is space for 32 numbers."""
    size, page_size = kv.head_size, kv.page_size
    blocks, block_bytes = size // KV_BLOCK_DIMENSIONS, KV_BLOCK_DIMENSIONS * kv.bits // 8
    token = page * page_size + offset
    bias = np.int32(128 if kv.bits == 8 else 0)
    for b in range(blocks):
        _take_block(key, b, kv.bits, block)
        scale_at = kv.key_scales + 2 * ((page * blocks + b) * page_size + offset)
        inverse = _store_scale(block, kv.bits, scale_at)
        for i in range(block_bytes):
            word = ((page * blocks + b) * (block_bytes // 4) + i // 4) * page_size + offset
            store_byte(kv.keys + 4 * word + i % 4, _stored_byte(block, i, inverse, kv.bits) + bias)
        _take_block(value, b, kv.bits, block)
        inverse = _store_scale(block, kv.bits, kv.value_scales + 2 * (token * blocks + b))
        value_at = kv.values + (token * blocks + b) * block_bytes
        for i in range(block_bytes):
            store_byte(value_at + i, _stored_byte(block, i, inverse, kv.bits))


@kernel()
def _take_block(numbers, b, bits, block):
    """Block b of a head's numbers as it is rounded."""
    for d in range(KV_BLOCK_DIMENSIONS):
        block[d] = numbers[b * KV_BLOCK_DIMENSIONS + d]
    if bits == 4:
        hadamard(address_of(block), 1, _TO_PAGES)


@kernel()
def _store_scale(block, bits, at):
    """Write the scale of 32 numbers; returns what they are multiplied with."""
    largest, extreme = np.float32(0.0), np.float32(0.0)
    for d in range(KV_BLOCK_DIMENSIONS):
        size = abs(block[d])
        if size > largest or size != size:
            largest, extreme = size, block[d] if bits == 4 else size
    steps = np.float32(-8.0) if bits == 4 else np.float32(127.0)
    scale = extreme / steps
    store_half(at, scale if abs(scale) < _TOO_LARGE else np.float32(np.nan))
    return steps / extreme if largest > 0 else np.float32(0.0)


@kernel()
def _stored_byte(block, i, inverse, bits):
    """Byte i of a block in int8, or of one in int4 with its two numbers, each plus 8."""
    low = to_int32(round_f32(block[i] * inverse))
    if bits == 8:
        return low
    high = to_int32(round_f32(block[i + KV_BLOCK_DIMENSIONS // 2] * inverse))
    return (min(low, _LARGEST) + _OFFSET) | ((min(high, _LARGEST) + _OFFSET) << _HALF_BYTE)
