"""Softmax attention of a step's rows over paged keys and values."""

import numpy as np

from slipstream.cpu_kernels.compiled.addresses import address_of, load_half
from slipstream.cpu_kernels.compiled.attention_tile import (
    TILE_QUERIES,
    WIDE,
    prefetch_bytes,
    score_keys,
    score_keys_int8,
    soften,
    weigh_values,
)
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set
from slipstream.cpu_kernels.compiled.packed_rows import BLOCK_WORDS, quantize_row
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.vector import LANES
from slipstream.cpu_kernels.compiled.work_sharing import outline, run_items
from slipstream.cpu_kernels.errors import expect_multiple
from slipstream.cpu_kernels.kv_pages import KV_BLOCK_DIMENSIONS, KVPages, KVWord
from slipstream.cpu_kernels.reference.attention import check_attention
from slipstream.cpu_kernels.visibility import Visibility

_MINUS_INFINITY = np.float32(-np.inf)
_INSTRUCTION_SET = chosen_instruction_set()
_KEYS, _VALUES = int(KVWord.KEYS), int(KVWord.VALUES)
_KEY_SCALES, _VALUE_SCALES = int(KVWord.KEY_SCALES), int(KVWord.VALUE_SCALES)
_NUM_HEADS, _HEAD_SIZE = int(KVWord.NUM_HEADS), int(KVWord.HEAD_SIZE)
_PAGE_SIZE, _IS_INT8 = int(KVWord.PAGE_SIZE), int(KVWord.IS_INT8)


def attention(
    q: np.ndarray, pages: KVPages, visibility: Visibility, *, scale: float, out: np.ndarray
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.attention`; pages hold a multiple of 16 tokens.

    A row's result is bit-identical whatever the other rows are, and a tree's row equals the same
    row of a linear step. With int8 keys a query is rounded to int8 too, 32 dimensions a scale.
    """
    check_attention(q, pages, visibility, out)
    expect_multiple("page size", pages.page_size, LANES)
    POOL.run(
        _attention,
        q,
        pages.table,
        visibility.page_tables,
        visibility.past,
        visibility.num_new,
        visibility.first_key,
        visibility.mask,
        np.float32(scale),
        out,
    )
    return out


@kernel()
def _attention(state, q, kv, page_tables, past, num_new, first_key, mask, scale, out):
    group = q.shape[1] // kv[_NUM_HEADS]
    tiles = 0
    for s in range(num_new.shape[0]):
        tiles += _num_tiles(num_new[s], group)
    arguments = (tiles, q, kv, page_tables, past, num_new, first_key, mask, scale, out)
    run_items(state, outline(_tile, arguments), tiles * kv[_NUM_HEADS])


@kernel()
def _num_tiles(num_rows, group):
    """Tiles of a sequence's rows, for one key/value head."""
    return -(-np.int64(num_rows) * group // TILE_QUERIES)


@kernel(error_model="numpy")
def _tile(item, tiles, q, kv, page_tables, past, num_new, first_key, mask, scale, out):
    """Four queries of one sequence and key/value head: (row, head) pairs, heads first."""
    kv_head, tile = item // tiles, item % tiles
    group, num_dims, page_size = q.shape[1] // kv[_NUM_HEADS], q.shape[2], kv[_PAGE_SIZE]
    s, first_row = 0, 0
    while tile >= _num_tiles(num_new[s], group):
        tile -= _num_tiles(num_new[s], group)
        first_row += num_new[s]
        s += 1
    first_query = tile * TILE_QUERIES
    last_query = num_new[s] * group - 1
    # A new row sees itself and new rows before it, so the tile's last row ends what is seen.
    end = past[s] + min(first_query + TILE_QUERIES - 1, last_query) // group + 1
    queries = np.empty((TILE_QUERIES, num_dims), np.float32)
    start = end
    for r in range(TILE_QUERIES):
        query = min(first_query + r, last_query)  # a short tile repeats its last query
        m, h = first_row + query // group, kv_head * group + query % group
        start = min(start, first_key[m])
        for d in range(num_dims):
            queries[r, d] = q[m, h, d] * scale
    base = start // page_size * page_size  # scores are of whole pages
    weights = np.empty((TILE_QUERIES, -(-(end - base) // page_size) * page_size), np.float32)
    _score(queries, kv, kv_head, page_tables[s], base, weights)
    _prefetch_page(kv, _VALUES, page_tables[s, start // page_size], kv_head)
    totals = np.empty(TILE_QUERIES, np.float32)
    for r in range(TILE_QUERIES):
        m = first_row + min(first_query + r, last_query) // group
        _hide(weights[r], first_key[m] - base, past[s] - base, end - base, mask[m])
        totals[r] = soften(address_of(weights[r]), np.uint64(weights.shape[1] // LANES))
    queries[:] = 0.0  # from here on the outputs
    _weigh(weights, kv, kv_head, page_tables[s], start, end, base, queries)
    for r in range(min(TILE_QUERIES, last_query - first_query + 1)):
        query = first_query + r
        m, h = first_row + query // group, kv_head * group + query % group
        for d in range(num_dims):
            out[m, h, d] = queries[r, d] / totals[r]


@kernel()
def _score(queries, kv, kv_head, page_table, base, scores):
    """scores[r, j] = queries[r] . key base + j, for whole pages."""
    if kv[_IS_INT8]:
        _score_int8(queries, kv, kv_head, page_table, base, scores)
        return
    num_dims, page_size = queries.shape[1], kv[_PAGE_SIZE]
    columns = np.empty((num_dims, TILE_QUERIES), np.float32)
    for d in range(num_dims):
        for r in range(TILE_QUERIES):
            columns[d, r] = queries[r, d]
    query_at, stride = address_of(columns), np.uint64(2 * page_size)
    dims, score_stride = np.uint64(num_dims), np.uint64(4 * scores.shape[1])
    for j in range(0, scores.shape[1], page_size):
        page = page_table[(base + j) // page_size] * kv[_NUM_HEADS] + kv_head
        if j + page_size < scores.shape[1]:
            _prefetch_page(kv, _KEYS, page_table[(base + j) // page_size + 1], kv_head)
        for i in range(0, page_size, LANES * WIDE):
            at = np.uint64(kv[_KEYS] + 2 * (page * num_dims * page_size + i))
            score_at = address_of(scores) + np.uint64(4 * (j + i))
            if i + LANES * WIDE <= page_size:
                score_keys(WIDE, at, stride, query_at, dims, score_at, score_stride)
            else:
                for k in range((page_size - i) // LANES):
                    shift = np.uint64(LANES * k)
                    part_at = at + np.uint64(2) * shift
                    part_score = score_at + np.uint64(4) * shift
                    score_keys(1, part_at, stride, query_at, dims, part_score, score_stride)
    columns[0, 0] = 0.0  # known to the blocks by address only: alive until here


@kernel()
def _score_int8(queries, kv, kv_head, page_table, base, scores):
    num_dims, page_size = queries.shape[1], kv[_PAGE_SIZE]
    blocks = num_dims // KV_BLOCK_DIMENSIONS
    packed = np.empty((blocks, BLOCK_WORDS, TILE_QUERIES), np.int32)
    word_stride = np.uint64(4 * TILE_QUERIES)
    for r in range(TILE_QUERIES):
        at = address_of(packed) + np.uint64(4 * r)
        quantize_row(address_of(queries[r]), np.uint64(blocks), at, word_stride)
    for j in range(0, scores.shape[1], page_size):
        page = page_table[(base + j) // page_size] * kv[_NUM_HEADS] + kv_head
        if j + page_size < scores.shape[1]:
            _prefetch_page(kv, _KEYS, page_table[(base + j) // page_size + 1], kv_head)
        for i in range(0, page_size, LANES):
            score_keys_int8(
                _INSTRUCTION_SET,
                np.uint64(kv[_KEYS] + page * num_dims * page_size + 4 * i),
                np.uint64(4 * page_size),
                np.uint64(kv[_KEY_SCALES] + 2 * (page * blocks * page_size + i)),
                np.uint64(2 * page_size),
                address_of(packed),
                np.uint64(blocks),
                address_of(scores) + np.uint64(4 * (j + i)),
                np.uint64(4 * scores.shape[1]),
            )
    packed[0, 0, 0] = 0
    queries[0, 0] = queries[0, 0]


@kernel()
def _prefetch_page(kv, which, page_id, kv_head):
    """Ask for a page's keys or values: while one page is computed the next one comes."""
    size = kv[_PAGE_SIZE] * kv[_HEAD_SIZE] * (1 if kv[_IS_INT8] else 2)
    at = kv[which] + (page_id * kv[_NUM_HEADS] + kv_head) * size
    prefetch_bytes(np.uint64(at), np.uint64(size))


@kernel()
def _hide(scores, first_key, past, end, mask):
    """Minus infinity for the keys that a row does not see, all counted from the first score."""
    for j in range(max(first_key, 0)):
        scores[j] = _MINUS_INFINITY
    for i in range(end - past):
        scores[past + i] = scores[past + i] if mask[i] else _MINUS_INFINITY
    for j in range(end, scores.shape[0]):
        scores[j] = _MINUS_INFINITY


@kernel()
def _weigh(weights, kv, kv_head, page_table, start, end, base, out):
    """out[r] += sum over keys start .. end of weights[r, j] * value j, in the order of the keys."""
    page_size, num_dims = kv[_PAGE_SIZE], out.shape[1]
    blocks = num_dims // KV_BLOCK_DIMENSIONS
    is_int8 = kv[_IS_INT8] != 0
    item = 1 if is_int8 else 2
    j = start
    while j < end:
        num_keys = min(end, (j // page_size + 1) * page_size) - j
        if j + num_keys < end:
            _prefetch_page(kv, _VALUES, page_table[j // page_size + 1], kv_head)
        token = (page_table[j // page_size] * kv[_NUM_HEADS] + kv_head) * page_size + j % page_size
        at = kv[_VALUES] + item * token * num_dims
        scale_at = kv[_VALUE_SCALES] + 2 * token * blocks
        weight_at = address_of(weights) + np.uint64(4 * (j - base))
        weight_stride, count = np.uint64(4 * weights.shape[1]), np.uint64(num_keys)
        out_at, stride = address_of(out), np.uint64(4 * num_dims)
        value_stride, scale_stride = np.uint64(item * num_dims), np.uint64(2 * blocks)
        d = 0
        while d + LANES <= num_dims:
            dims_at = out_at + np.uint64(4 * d)
            value_at = np.uint64(at + item * d)
            shifted = np.uint64(scale_at + 2 * (d // KV_BLOCK_DIMENSIONS))
            if d + LANES * WIDE <= num_dims:
                weigh_values(
                    WIDE,
                    is_int8,
                    value_at,
                    value_stride,
                    shifted,
                    scale_stride,
                    count,
                    weight_at,
                    weight_stride,
                    dims_at,
                    stride,
                )
                d += LANES * WIDE
            else:
                weigh_values(
                    1,
                    is_int8,
                    value_at,
                    value_stride,
                    shifted,
                    scale_stride,
                    count,
                    weight_at,
                    weight_stride,
                    dims_at,
                    stride,
                )
                d += LANES
        for rest in range(d, num_dims):  # float16 with head sizes that are no multiple of 16
            for i in range(num_keys):
                value = load_half(np.uint64(at + item * (i * num_dims + rest)))
                for r in range(TILE_QUERIES):
                    out[r, rest] += weights[r, j - base + i] * value
        j += num_keys
    out[0, 0] = out[0, 0]  # known by address only: alive until here
