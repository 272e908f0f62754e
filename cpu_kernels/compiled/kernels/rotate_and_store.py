"""The kernel of `rotate_and_store`."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    floats_at,
    ints_at,
    record_at,
    round_f32,
    store_byte,
    store_half,
    to_int32,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.norm_row import norm_row
from slipstream.cpu_kernels.compiled.kernels.scratch import borrow
from slipstream.cpu_kernels.compiled.kernels.work_sharing import item_function, run_items
from slipstream.cpu_kernels.compiled.records import ROTATE_AND_STORE
from slipstream.cpu_kernels.kv_pages import KV_BLOCK_DIMENSIONS, KV_LAYOUT

_ROWS_AN_ITEM = 8
_TOO_LARGE = np.float32(65520.0)  # rounds to infinity in float16
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
    key = floats_at(borrow(scratch, 4 * size), (size,))
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
            if kv.is_int8:
                _store_int8(key, value, kv, page * num_kv_heads + h, offset)
            else:
                _store_float16(key, value, kv, page * num_kv_heads + h, offset)


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
def _store_int8(key, value, kv, page, offset):
    size, page_size = kv.head_size, kv.page_size
    blocks = size // KV_BLOCK_DIMENSIONS
    for b in range(blocks):
        first = b * KV_BLOCK_DIMENSIONS
        scale_at = kv.key_scales + 2 * ((page * blocks + b) * page_size + offset)
        inverse = _store_scale(key, first, scale_at)
        for d in range(first, first + KV_BLOCK_DIMENSIONS):
            word = (page * (size // 4) + d // 4) * page_size + offset
            number = to_int32(round_f32(key[d] * inverse)) + np.int32(128)
            store_byte(kv.keys + 4 * word + d % 4, number)
        token = page * page_size + offset
        scale_at = kv.value_scales + 2 * (token * blocks + b)
        inverse = _store_scale(value, first, scale_at)
        for d in range(first, first + KV_BLOCK_DIMENSIONS):
            number = to_int32(round_f32(value[d] * inverse))
            store_byte(kv.values + token * size + d, number)


@kernel()
def _store_scale(numbers, first, at):
    """Write the scale of 32 numbers; returns what they are multiplied with."""
    largest = np.float32(0.0)
    for d in range(first, first + KV_BLOCK_DIMENSIONS):
        size = abs(numbers[d])
        largest = size if size > largest or size != size else largest
    scale = largest / np.float32(127.0)
    store_half(at, scale if scale < _TOO_LARGE else np.float32(np.nan))
    return np.float32(127.0) / largest if largest > 0 else np.float32(0.0)
