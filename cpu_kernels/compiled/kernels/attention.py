"""The kernel of `attention`."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set
from slipstream.cpu_kernels.compiled.kernels.addresses import (
    address_of,
    aligned,
    allocate,
    array_at,
    floats_at,
    ints_at,
    load_half,
    record_at,
    release,
    words_at,
)
from slipstream.cpu_kernels.compiled.kernels.attention_tile import (
    TILE_QUERIES,
    WIDE,
    prefetch_bytes,
    score_keys,
    score_keys_int8,
    soften,
    weigh_values,
)
from slipstream.cpu_kernels.compiled.kernels.compile import kernel
from slipstream.cpu_kernels.compiled.kernels.pack_rows import quantize_row
from slipstream.cpu_kernels.compiled.kernels.vector import LANES
from slipstream.cpu_kernels.compiled.kernels.work_sharing import item_function, run_items
from slipstream.cpu_kernels.compiled.records import ATTENTION
from slipstream.cpu_kernels.kv_pages import KV_BLOCK_DIMENSIONS, KVWord

_MINUS_INFINITY = np.float32(-np.inf)
_INSTRUCTION_SET = chosen_instruction_set()
_KV_WORDS = len(KVWord)
_KEYS, _VALUES = int(KVWord.KEYS), int(KVWord.VALUES)
_KEY_SCALES, _VALUE_SCALES = int(KVWord.KEY_SCALES), int(KVWord.VALUE_SCALES)
_NUM_HEADS, _HEAD_SIZE = int(KVWord.NUM_HEADS), int(KVWord.HEAD_SIZE)
_PAGE_SIZE, _IS_INT8 = int(KVWord.PAGE_SIZE), int(KVWord.IS_INT8)
_record_at = record_at(ATTENTION)
_bools_at = array_at(np.bool_)


@kernel()
def attention(state: Any, record: Any) -> None:
    """Items are tiles of queries of one sequence and key/value head."""
    num_kv_heads = words_at(_record_at(record).kv, (_KV_WORDS,))[_NUM_HEADS]
    run_items(state, item_function(_tile), record, _all_tiles(record) * num_kv_heads)


@kernel()
def _all_tiles(record):
    """Tiles of all sequences, for one key/value head."""
    r = _record_at(record)
    group = r.num_heads // words_at(r.kv, (_KV_WORDS,))[_NUM_HEADS]
    num_new = ints_at(r.num_new, (r.num_sequences,))
    tiles = 0
    for s in range(r.num_sequences):
        tiles += _num_tiles(num_new[s], group)
    return tiles


@kernel()
def _num_tiles(num_rows, group):
    """Tiles of a sequence's rows, for one key/value head."""
    return -(-np.int64(num_rows) * group // TILE_QUERIES)


@kernel()
def _tile(item, record):
    """Four queries of one sequence and key/value head: (row, head) pairs, heads first."""
    r = _record_at(record)
    kv = words_at(r.kv, (_KV_WORDS,))
    num_new = ints_at(r.num_new, (r.num_sequences,))
    tiles = _all_tiles(record)
    kv_head, tile = item // tiles, item % tiles
    group, num_dims, page_size = r.num_heads // kv[_NUM_HEADS], r.head_size, kv[_PAGE_SIZE]
    s, first_row = 0, 0
    while tile >= _num_tiles(num_new[s], group):
        tile -= _num_tiles(num_new[s], group)
        first_row += num_new[s]
        s += 1
    past = np.int64(ints_at(r.past, (r.num_sequences,))[s])
    num_rows = first_row + num_new[s]  # at least so many are in the step
    first_key = ints_at(r.first_key, (num_rows,))
    first_query = tile * TILE_QUERIES
    last_query = num_new[s] * group - 1
    # A new row sees itself and new rows before it, so the tile's last row ends what is seen.
    end = past + min(first_query + TILE_QUERIES - 1, last_query) // group + 1
    start = end
    for i in range(TILE_QUERIES):  # a short tile repeats its last query
        start = min(start, first_key[first_row + min(first_query + i, last_query) // group])
    base = start // page_size * page_size  # scores are of whole pages
    num_keys = -(-(end - base) // page_size) * page_size
    space = allocate(4 * TILE_QUERIES * (2 * num_dims + num_keys) + 64)
    sums = floats_at(aligned(space), (TILE_QUERIES, num_dims))  # first the queries
    weights_at = aligned(space) + 4 * TILE_QUERIES * num_dims
    weights = floats_at(weights_at, (TILE_QUERIES, num_keys))
    packed_at = weights_at + 4 * TILE_QUERIES * num_keys  # the queries as scoring wants them
    q = floats_at(r.q, (num_rows, r.num_heads, num_dims))
    scale = np.float32(r.scale)
    for i in range(TILE_QUERIES):
        query = min(first_query + i, last_query)
        m, h = first_row + query // group, kv_head * group + query % group
        for d in range(num_dims):
            sums[i, d] = q[m, h, d] * scale
    page_table = ints_at(r.page_tables + 4 * s * r.num_pages, (r.num_pages,))
    _score(sums, packed_at, kv, kv_head, page_table, base, weights)
    _prefetch_page(kv, _VALUES, page_table[start // page_size], kv_head)
    totals = floats_at(packed_at, (TILE_QUERIES,))
    for i in range(TILE_QUERIES):
        m = first_row + min(first_query + i, last_query) // group
        mask = _bools_at(r.mask + m * r.most_new, (r.most_new,))
        _hide(weights[i], first_key[m] - base, past - base, end - base, mask)
        totals[i] = soften(address_of(weights[i]), num_keys // LANES)
    sums[:] = 0.0
    _weigh(weights, kv, kv_head, page_table, start, end, base, sums)
    out = floats_at(r.out, (num_rows, r.num_heads, num_dims))
    for i in range(min(TILE_QUERIES, last_query - first_query + 1)):
        query = first_query + i
        m, h = first_row + query // group, kv_head * group + query % group
        for d in range(num_dims):
            out[m, h, d] = sums[i, d] / totals[i]
    release(space)


@kernel()
def _score(queries, packed_at, kv, kv_head, page_table, base, scores):
    """scores[r, j] = queries[r] . key base + j, for whole pages."""
    if kv[_IS_INT8]:
        _score_int8(queries, packed_at, kv, kv_head, page_table, base, scores)
        return
    num_dims, page_size = queries.shape[1], kv[_PAGE_SIZE]
    columns = floats_at(packed_at, (num_dims, TILE_QUERIES))
    for d in range(num_dims):
        for r in range(TILE_QUERIES):
            columns[d, r] = queries[r, d]
    score_stride = 4 * scores.shape[1]
    for j in range(0, scores.shape[1], page_size):
        page = page_table[(base + j) // page_size] * kv[_NUM_HEADS] + kv_head
        if j + page_size < scores.shape[1]:
            _prefetch_page(kv, _KEYS, page_table[(base + j) // page_size + 1], kv_head)
        for i in range(0, page_size, LANES * WIDE):
            at = kv[_KEYS] + 2 * (page * num_dims * page_size + i)
            score_at = address_of(scores) + 4 * (j + i)
            if i + LANES * WIDE <= page_size:
                score_keys(WIDE, at, 2 * page_size, packed_at, num_dims, score_at, score_stride)
            else:
                for k in range(0, page_size - i, LANES):
                    score_keys(
                        1,
                        at + 2 * k,
                        2 * page_size,
                        packed_at,
                        num_dims,
                        score_at + 4 * k,
                        score_stride,
                    )


@kernel()
def _score_int8(queries, packed_at, kv, kv_head, page_table, base, scores):
    num_dims, page_size = queries.shape[1], kv[_PAGE_SIZE]
    blocks = num_dims // KV_BLOCK_DIMENSIONS
    for r in range(TILE_QUERIES):
        quantize_row(address_of(queries[r]), blocks, packed_at + 4 * r, 4 * TILE_QUERIES)
    for j in range(0, scores.shape[1], page_size):
        page = page_table[(base + j) // page_size] * kv[_NUM_HEADS] + kv_head
        if j + page_size < scores.shape[1]:
            _prefetch_page(kv, _KEYS, page_table[(base + j) // page_size + 1], kv_head)
        for i in range(0, page_size, LANES):
            score_keys_int8(
                _INSTRUCTION_SET,
                kv[_KEYS] + page * num_dims * page_size + 4 * i,
                4 * page_size,
                kv[_KEY_SCALES] + 2 * (page * blocks * page_size + i),
                2 * page_size,
                packed_at,
                blocks,
                address_of(scores) + 4 * (j + i),
                4 * scores.shape[1],
            )


@kernel()
def _prefetch_page(kv, which, page_id, kv_head):
    """Ask for a page's keys or values: while one page is computed the next one comes."""
    size = kv[_PAGE_SIZE] * kv[_HEAD_SIZE] * (1 if kv[_IS_INT8] else 2)
    at = kv[which] + (page_id * kv[_NUM_HEADS] + kv_head) * size
    prefetch_bytes((at), (size))


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
    item = 1 if kv[_IS_INT8] else 2
    j = start
    while j < end:
        num_keys = min(end, (j // page_size + 1) * page_size) - j
        if j + num_keys < end:
            _prefetch_page(kv, _VALUES, page_table[j // page_size + 1], kv_head)
        token = (page_table[j // page_size] * kv[_NUM_HEADS] + kv_head) * page_size + j % page_size
        at = kv[_VALUES] + item * token * num_dims
        scale_at = kv[_VALUE_SCALES] + 2 * token * blocks
        weight_at = address_of(weights) + 4 * (j - base)
        d = 0
        while d + LANES <= num_dims:
            wide = d + LANES * WIDE <= num_dims
            weigh_values(
                wide,
                kv[_IS_INT8] != 0,
                at + item * d,
                item * num_dims,
                scale_at + 2 * (d // KV_BLOCK_DIMENSIONS),
                2 * blocks,
                num_keys,
                weight_at,
                4 * weights.shape[1],
                address_of(out) + 4 * d,
                4 * num_dims,
            )
            d += LANES * WIDE if wide else LANES
        for rest in range(d, num_dims):  # float16 with head sizes that are no multiple of 16
            for i in range(num_keys):
                value = load_half(at + item * (i * num_dims + rest))
                for r in range(TILE_QUERIES):
                    out[r, rest] += weights[r, j - base + i] * value
        j += num_keys
