"""Softmax attention of a step's rows over paged keys and values."""

import numpy as np

from slipstream.cpu_kernels.compiled.addresses import address_of, half_to_float32
from slipstream.cpu_kernels.compiled.attention_tile import (
    KEYS_A_BLOCK,
    TILE_QUERIES,
    score_block,
    weigh_values,
)
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.exponential import exp_f32
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.work_sharing import outline, run_items
from slipstream.cpu_kernels.errors import expect_multiple
from slipstream.cpu_kernels.reference.attention import check_attention
from slipstream.cpu_kernels.visibility import Visibility

_MINUS_INFINITY = np.float32(-np.inf)


def attention(
    q: np.ndarray,
    key_pages: np.ndarray,
    value_pages: np.ndarray,
    visibility: Visibility,
    *,
    scale: float,
    out: np.ndarray,
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.attention`; pages hold a multiple of 16 tokens.

    A row's result is bit-identical whatever the other rows are, and a tree's row equals the same
    row of a linear step.
    """
    check_attention(q, key_pages, value_pages, visibility, out)
    expect_multiple("page size", key_pages.shape[3], KEYS_A_BLOCK)
    group = q.shape[1] // key_pages.shape[1]
    tiles = -(-visibility.num_new * group // TILE_QUERIES)  # of a sequence and key/value head
    first_tile = np.concatenate([[0], np.cumsum(tiles)]).astype(np.int64)
    first_row = np.cumsum(visibility.num_new) - visibility.num_new
    POOL.run(
        _attention,
        q,
        key_pages.view(np.uint16),
        value_pages.view(np.uint16),
        visibility.page_tables,
        visibility.past,
        visibility.num_new,
        first_row.astype(np.int64),
        first_tile,
        visibility.first_key,
        visibility.mask,
        np.float32(scale),
        out,
    )
    return out


@kernel()
def _attention(
    state,
    q,
    keys,
    values,
    page_tables,
    past,
    num_new,
    first_row,
    first_tile,
    first_key,
    mask,
    scale,
    out,
):
    arguments = (
        q,
        keys,
        values,
        page_tables,
        past,
        num_new,
        first_row,
        first_tile,
        first_key,
        mask,
        scale,
        out,
    )
    run_items(state, outline(_tile, arguments), first_tile[-1] * keys.shape[1])


@kernel(error_model="numpy")
def _tile(
    item,
    q,
    keys,
    values,
    page_tables,
    past,
    num_new,
    first_row,
    first_tile,
    first_key,
    mask,
    scale,
    out,
):
    """Four queries of one sequence and key/value head: (row, head) pairs, heads first."""
    kv_head, tile = item // first_tile[-1], item % first_tile[-1]
    s = np.searchsorted(first_tile, tile, side="right") - 1
    group, num_dims = q.shape[1] // keys.shape[1], q.shape[2]
    first_query = (tile - first_tile[s]) * TILE_QUERIES
    last_query = num_new[s] * group - 1
    end = past[s] + num_new[s]
    queries = np.empty((TILE_QUERIES, num_dims), np.float32)
    start = end
    for r in range(TILE_QUERIES):
        query = min(first_query + r, last_query)  # a short tile repeats its last query
        m, h = first_row[s] + query // group, kv_head * group + query % group
        start = min(start, first_key[m])
        for d in range(num_dims):
            queries[r, d] = q[m, h, d] * scale
    weights = np.empty((TILE_QUERIES, -(-end // KEYS_A_BLOCK) * KEYS_A_BLOCK), np.float32)
    _score(queries, keys, kv_head, page_tables[s], start, end, weights)
    totals = np.empty(TILE_QUERIES, np.float32)
    for r in range(TILE_QUERIES):
        m = first_row[s] + min(first_query + r, last_query) // group
        totals[r] = _soften(weights[r], first_key[m], past[s], end, mask[m], start)
    queries[:] = 0.0  # from here on the outputs
    _weigh(weights, values, kv_head, page_tables[s], start, end, queries)
    for r in range(min(TILE_QUERIES, last_query - first_query + 1)):
        query = first_query + r
        m, h = first_row[s] + query // group, kv_head * group + query % group
        for d in range(num_dims):
            out[m, h, d] = queries[r, d] / totals[r]


@kernel()
def _score(queries, keys, kv_head, pages, start, end, scores):
    """scores[r, j] = queries[r] . key j, for blocks of 16 keys with any of start .. end."""
    num_dims, page_size = keys.shape[2], keys.shape[3]
    for j in range(start // KEYS_A_BLOCK * KEYS_A_BLOCK, end, KEYS_A_BLOCK):
        block = ((pages[j // page_size] * keys.shape[1] + kv_head) * num_dims) * page_size
        score_block(
            address_of(keys) + np.uint64(2 * (block + j % page_size)),
            np.uint64(2 * page_size),
            address_of(queries),
            np.uint64(num_dims),
            address_of(scores) + np.uint64(4 * j),
            np.uint64(4 * scores.shape[1]),
        )
    queries[0, 0] = queries[0, 0]  # known to the blocks by address only: alive until here


@kernel(fastmath={"contract", "nsz"}, error_model="numpy")
def _soften(scores, first_key, past, end, mask, start):
    """exp(score - largest seen score), 0 where a key is not seen; returns the sum.

    A seen score that is NaN or plus infinity makes the sum NaN.
    """
    largest = _MINUS_INFINITY
    for j in range(first_key, past):
        largest = max(largest, scores[j])
    for j in range(max(past, first_key), end):
        if mask[j - past]:
            largest = max(largest, scores[j])
        else:
            scores[j] = _MINUS_INFINITY
    for j in range(start, first_key):
        scores[j] = np.float32(0.0)
    for j in range(first_key, end):
        seen, below = scores[j] != _MINUS_INFINITY, scores[j] - largest
        weight = exp_f32(below) if below <= 0 else np.float32(np.nan)
        scores[j] = weight if seen else np.float32(0.0)
    total = np.float32(0.0)
    for j in range(first_key, end):
        total += scores[j]
    return total


@kernel()
def _weigh(weights, values, kv_head, pages, start, end, out):
    """out[r] += sum over keys start .. end of weights[r, j] * value j, in the order of the keys."""
    page_size, num_dims = values.shape[2], values.shape[3]
    num_keys = min(end, (start // page_size + 1) * page_size) - start
    j = start
    while j < end:
        page = (pages[j // page_size] * values.shape[1] + kv_head) * page_size
        at = address_of(values) + np.uint64(2 * (page + j % page_size) * num_dims)
        weight_at = address_of(weights) + np.uint64(4 * j)
        value_stride, stride = np.uint64(2 * num_dims), np.uint64(4 * num_dims)
        weight_stride = np.uint64(4 * weights.shape[1])
        count, d = np.uint64(num_keys), 0
        while d + 64 <= num_dims:
            out_at = address_of(out) + np.uint64(4 * d)
            shifted = at + np.uint64(2 * d)
            weigh_values(4, shifted, value_stride, count, weight_at, weight_stride, out_at, stride)
            d += 64
        while d + 16 <= num_dims:
            out_at = address_of(out) + np.uint64(4 * d)
            shifted = at + np.uint64(2 * d)
            weigh_values(1, shifted, value_stride, count, weight_at, weight_stride, out_at, stride)
            d += 16
        for rest in range(d, num_dims):  # head sizes that are no multiple of 16
            for i in range(num_keys):
                value = half_to_float32(
                    values[pages[j // page_size], kv_head, j % page_size + i, rest]
                )
                for r in range(TILE_QUERIES):
                    out[r, rest] += weights[r, j + i] * value
        j += num_keys
        num_keys = min(page_size, end - j)
    out[0, 0] = out[0, 0]
