"""From the fused product to attention: head norms, rotation, and keys and values to their pages."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.addresses import (
    round_f32,
    store_byte,
    store_half,
    to_int32,
)
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.rms_norm import norm_row
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.work_sharing import outline, run_items
from slipstream.cpu_kernels.kv_pages import KV_BLOCK_DIMENSIONS, KVPages, KVWord
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.reference.rotate_and_store import check_rotate_and_store

_NOTHING = np.empty(0, np.float32)
_ROWS_AN_ITEM = 8
_TOO_LARGE = np.float32(65520.0)  # rounds to infinity in float16
_KEYS, _VALUES = int(KVWord.KEYS), int(KVWord.VALUES)
_KEY_SCALES, _VALUE_SCALES = int(KVWord.KEY_SCALES), int(KVWord.VALUE_SCALES)
_NUM_HEADS, _HEAD_SIZE = int(KVWord.NUM_HEADS), int(KVWord.HEAD_SIZE)
_PAGE_SIZE, _IS_INT8 = int(KVWord.PAGE_SIZE), int(KVWord.IS_INT8)


def rotate_and_store(
    qkv: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    page_ids: np.ndarray,
    offsets: np.ndarray,
    *,
    interleaved: bool,
    query_norm: RmsNorm | None = None,
    key_norm: RmsNorm | None = None,
    pages: KVPages,
    out: np.ndarray,
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.rotate_and_store`."""
    check_rotate_and_store(qkv, cos, sin, page_ids, offsets, query_norm, key_norm, pages, out)
    POOL.run(
        _rotate_and_store,
        qkv,
        cos,
        sin,
        page_ids,
        offsets,
        interleaved,
        _NOTHING if query_norm is None else query_norm.weight,
        0.0 if query_norm is None else query_norm.eps,
        _NOTHING if key_norm is None else key_norm.weight,
        0.0 if key_norm is None else key_norm.eps,
        pages.table,
        out,
    )
    return out


@kernel()
def _rotate_and_store(
    state,
    qkv,
    cos,
    sin,
    page_ids,
    offsets,
    interleaved,
    query_norm,
    query_eps,
    key_norm,
    key_eps,
    kv,
    out,
):
    arguments = (
        qkv,
        cos,
        sin,
        page_ids,
        offsets,
        interleaved,
        query_norm,
        query_eps,
        key_norm,
        key_eps,
        kv,
        out,
    )
    run_items(state, outline(_rows, arguments), -(-qkv.shape[0] // _ROWS_AN_ITEM))


@kernel()
def _rows(
    item,
    qkv,
    cos,
    sin,
    page_ids,
    offsets,
    interleaved,
    query_norm,
    query_eps,
    key_norm,
    key_eps,
    kv,
    out,
):
    num_heads, num_kv_heads, size = out.shape[1], kv[_NUM_HEADS], kv[_HEAD_SIZE]
    key = np.empty(size, np.float32)
    for m in range(item * _ROWS_AN_ITEM, min((item + 1) * _ROWS_AN_ITEM, qkv.shape[0])):
        row, page, offset = qkv[m], page_ids[m], offsets[m]
        for h in range(num_heads):
            head = row[h * size : (h + 1) * size]
            _norm_and_rotate(head, query_norm, query_eps, cos[m], sin[m], interleaved, out[m, h])
        for h in range(num_kv_heads):
            at = (num_heads + h) * size
            head = row[at : at + size]
            _norm_and_rotate(head, key_norm, key_eps, cos[m], sin[m], interleaved, key)
            at += num_kv_heads * size
            value = row[at : at + size]
            if kv[_IS_INT8]:
                _store_int8(key, value, kv, page * num_kv_heads + h, offset)
            else:
                _store_float16(key, value, kv, page * num_kv_heads + h, offset)


@kernel()
def _norm_and_rotate(
    head: Any, norm: Any, eps: Any, cos: Any, sin: Any, interleaved: Any, out: Any
) -> None:
    """Both for one head; dimensions past the rotated ones are copied."""
    if norm.size:
        norm_row(head, norm, eps, out)
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
    size, page_size = kv[_HEAD_SIZE], kv[_PAGE_SIZE]
    key_at = kv[_KEYS] + 2 * (page * size * page_size + offset)
    value_at = kv[_VALUES] + 2 * (page * page_size + offset) * size
    for d in range(size):
        store_half(np.uint64(key_at + 2 * d * page_size), key[d])
        store_half(np.uint64(value_at + 2 * d), value[d])


@kernel(error_model="numpy")
def _store_int8(key, value, kv, page, offset):
    size, page_size = kv[_HEAD_SIZE], kv[_PAGE_SIZE]
    blocks = size // KV_BLOCK_DIMENSIONS
    for b in range(blocks):
        first = b * KV_BLOCK_DIMENSIONS
        scale_at = kv[_KEY_SCALES] + 2 * ((page * blocks + b) * page_size + offset)
        inverse = _store_scale(key, first, np.uint64(scale_at))
        for d in range(first, first + KV_BLOCK_DIMENSIONS):
            word = (page * (size // 4) + d // 4) * page_size + offset
            number = to_int32(round_f32(key[d] * inverse)) + np.int32(128)
            store_byte(np.uint64(kv[_KEYS] + 4 * word + d % 4), number)
        token = page * page_size + offset
        scale_at = kv[_VALUE_SCALES] + 2 * (token * blocks + b)
        inverse = _store_scale(value, first, np.uint64(scale_at))
        for d in range(first, first + KV_BLOCK_DIMENSIONS):
            number = to_int32(round_f32(value[d] * inverse))
            store_byte(np.uint64(kv[_VALUES] + token * size + d), number)


@kernel(error_model="numpy")
def _store_scale(numbers, first, at):
    """Write the scale of 32 numbers; returns what they are multiplied with."""
    largest = np.float32(0.0)
    for d in range(first, first + KV_BLOCK_DIMENSIONS):
        size = abs(numbers[d])
        largest = size if size > largest or size != size else largest
    scale = largest / np.float32(127.0)
    store_half(at, scale if scale < _TOO_LARGE else np.float32(np.nan))
    return np.float32(127.0) / largest if largest > 0 else np.float32(0.0)
