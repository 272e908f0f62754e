"""The kernel of `attention`."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set
from slipstream.cpu_kernels.compiled.kernels.addresses import (
    address_of,
    array_at,
    floats_at,
    ints_at,
    load_half,
    record_at,
)
from slipstream.cpu_kernels.compiled.kernels.attention_scores import (
    score_keys,
    score_quantised_keys,
)
from slipstream.cpu_kernels.compiled.kernels.attention_tile import (
    MOST_QUERIES,
    TILE_QUERIES,
    WIDE,
    WIDE_QUANTISED,
    exp_and_sum,
    prefetch_bytes,
)
from slipstream.cpu_kernels.compiled.kernels.attention_values import weigh_values
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.hadamard import hadamard
from slipstream.cpu_kernels.compiled.kernels.pack_rows import quantize_row
from slipstream.cpu_kernels.compiled.kernels.scratch import borrow
from slipstream.cpu_kernels.compiled.kernels.vector import LANES
from slipstream.cpu_kernels.compiled.kernels.work_sharing import item_function, run_items
from slipstream.cpu_kernels.compiled.records import ATTENTION
from slipstream.cpu_kernels.kv_pages import FROM_PAGES, KV_BLOCK_DIMENSIONS, KV_LAYOUT

_MINUS_INFINITY = np.float32(-np.inf)
_FROM_PAGES = np.float32(FROM_PAGES)
_INSTRUCTION_SET = chosen_instruction_set()
_record_at = record_at(ATTENTION)
_kv_at = record_at(KV_LAYOUT)
_bools_at = array_at(np.bool_)


@kernel()
def attention(state: Any, record: Any) -> None:
    """Items are tiles of queries of one sequence and key/value head."""
    num_kv_heads = _kv_at(_record_at(record).kv).num_heads
    run_items(state, item_function(_tile), record, _all_tiles(record) * num_kv_heads)


@kernel()
def _all_tiles(record):
    """Tiles of all sequences, for one key/value head."""
    r = _record_at(record)
    group = r.num_heads // _kv_at(r.kv).num_heads
    num_new = ints_at(r.num_new, (r.num_sequences,))
    tiles = 0
    for s in range(r.num_sequences):
        tiles += _num_tiles(num_new[s], group)
    return tiles


@kernel()
def _num_tiles(num_rows, group):
    """Tiles of a sequence's rows, for one key/value head."""
    num_queries = np.int64(num_rows) * group
    return 1 if num_queries <= MOST_QUERIES else -(-num_queries // TILE_QUERIES)


@kernel()
def _sequence_of(tile, num_new, group):
    """(sequence, its first row in the step, tile of that sequence) of a tile of all."""
    s, first_row = 0, 0
    while tile >= _num_tiles(num_new[s], group):
        tile -= _num_tiles(num_new[s], group)
        first_row += num_new[s]
        s += 1
    return s, first_row, tile


@kernel()
def _row_and_head(query, first_row, kv_head, group):
    """Of a sequence's query for a key/value head, in the whole step."""
    return first_row + query // group, kv_head * group + query % group


@kernel()
def _tile(item, record, scratch):
    """Some queries of one sequence and key/value head: (row, head) pairs, heads first."""
    r = _record_at(record)
    kv = _kv_at(r.kv)
    num_new = ints_at(r.num_new, (r.num_sequences,))
    tiles = _all_tiles(record)
    kv_head, group, num_dims = item // tiles, r.num_heads // kv.num_heads, r.head_size
    page_size = kv.page_size
    s, first_row, tile = _sequence_of(item % tiles, num_new, group)
    past = np.int64(ints_at(r.past, (r.num_sequences,))[s])
    num_rows = first_row + num_new[s]  # at least so many are in the step
    first_key = ints_at(r.first_key, (num_rows,))
    first_query = tile * TILE_QUERIES
    num_queries = num_new[s] * group - first_query
    if num_queries > MOST_QUERIES or tile > 0:
        num_queries = min(TILE_QUERIES, num_queries)
    # A new row sees itself and new rows before it, so the tile's last row ends what is seen.
    end = past + (first_query + num_queries - 1) // group + 1
    start = end
    for i in range(num_queries):
        start = min(start, first_key[first_row + (first_query + i) // group])
    base = start // page_size * page_size  # scores are of whole pages
    num_keys = -(-(end - base) // page_size) * page_size
    sums_at = borrow(scratch, 4 * num_queries * (2 * num_dims + num_keys))
    sums = floats_at(sums_at, (num_queries, num_dims))  # first the queries
    weights_at = sums_at + 4 * num_queries * num_dims
    weights = floats_at(weights_at, (num_queries, num_keys))
    packed_at = weights_at + 4 * num_queries * num_keys  # the queries as scoring wants them
    q = floats_at(r.q, (num_rows, r.num_heads, num_dims))
    scale = np.float32(r.scale)
    for i in range(num_queries):
        m, h = _row_and_head(first_query + i, first_row, kv_head, group)
        for d in range(num_dims):
            sums[i, d] = q[m, h, d] * scale
    page_table = ints_at(r.page_tables + 4 * s * r.num_pages, (r.num_pages,))
    _transform(sums, kv)
    _score(sums, packed_at, kv, kv_head, page_table, base, weights)
    totals = floats_at(packed_at, (num_queries,))
    for i in range(num_queries):
        m = first_row + (first_query + i) // group
        mask = _bools_at(r.mask + m * r.most_new, (r.most_new,))
        _mask_scores(weights[i], first_key[m] - base, past - base, end - base, mask)
        totals[i] = exp_and_sum(address_of(weights[i]), num_keys // LANES)
    sums[:] = 0.0
    _weigh(weights, kv, kv_head, page_table, start, end, base, sums)
    _transform(sums, kv)
    out = floats_at(r.out, (num_rows, r.num_heads, num_dims))
    for i in range(num_queries):
        m, h = _row_and_head(first_query + i, first_row, kv_head, group)
        for d in range(num_dims):
            out[m, h, d] = sums[i, d] / totals[i]


@kernel()
def _transform(rows, kv):
    """What int4 keys do to queries, and what undoes what int4 values went through, in place."""
    if kv.bits == 4:
        blocks = rows.shape[0] * rows.shape[1] // KV_BLOCK_DIMENSIONS
        hadamard(address_of(rows), blocks, _FROM_PAGES)


@kernel()
def _score(queries, packed_at, kv, kv_head, page_table, base, scores):
    """scores[r, j] = queries[r] . key base + j, for whole pages."""
    (num_queries, num_dims), page_size = queries.shape, kv.page_size
    blocks = num_dims // KV_BLOCK_DIMENSIONS
    if kv.bits == 16:
        columns = floats_at(packed_at, (num_dims, num_queries))
        for d in range(num_dims):
            for r in range(num_queries):
                columns[d, r] = queries[r, d]
    else:
        for r in range(num_queries):
            quantize_row(address_of(queries[r]), blocks, packed_at + 4 * r, 4 * num_queries)
    num_keys = scores.shape[1]
    widest = LANES * (WIDE if kv.bits == 16 else WIDE_QUANTISED)
    scales_at = _scales_at(kv, kv.key_scales, page_table, base, kv_head)
    for j in range(0, num_keys, page_size):
        keys_at = _page_at(kv, kv.keys, page_table, base + j, kv_head)
        scores_at, this_scales_at = address_of(scores) + 4 * j, scales_at
        if j + page_size < num_keys:
            ahead = _page_at(kv, kv.keys, page_table, base + j + page_size, kv_head) - keys_at
            scales_at = _scales_at(kv, kv.key_scales, page_table, base + j + page_size, kv_head)
        else:
            ahead = _page_at(kv, kv.values, page_table, base, kv_head) - keys_at
        i = 0
        while i < page_size:
            wide = i + widest <= page_size
            if kv.bits == 16:
                score_keys(
                    num_queries,
                    wide,
                    keys_at + 2 * i,
                    ahead,
                    2 * page_size,
                    packed_at,
                    num_dims,
                    scores_at + 4 * i,
                    4 * num_keys,
                )
            else:
                score_quantised_keys(
                    _INSTRUCTION_SET,
                    num_queries,
                    wide,
                    kv.bits,
                    keys_at + 4 * i,
                    ahead,
                    4 * page_size,
                    this_scales_at + 2 * i,
                    2 * page_size,
                    packed_at,
                    blocks,
                    scores_at + 4 * i,
                    4 * num_keys,
                )
            i += widest if wide else LANES


@kernel()
def _page_at(kv, base, page_table, key, kv_head):
    """Address of the page of keys or of values in which a key or its value lies."""
    page = page_table[key // kv.page_size] * kv.num_heads + kv_head
    return base + page * (kv.page_size * kv.head_size * kv.bits // 8)


@kernel()
def _scales_at(kv, base, page_table, key, kv_head):
    """As `_page_at` of their scales; asks for them too, since they are few."""
    page = page_table[key // kv.page_size] * kv.num_heads + kv_head
    num_bytes = 2 * kv.page_size * (kv.head_size // KV_BLOCK_DIMENSIONS)
    at = base + page * num_bytes
    if kv.bits != 16:
        prefetch_bytes(at, num_bytes)
    return at


@kernel()
def _mask_scores(scores, first_key, past, end, mask):
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
    (num_queries, num_dims), page_size = out.shape, kv.page_size
    blocks = num_dims // KV_BLOCK_DIMENSIONS
    row_bytes = num_dims * kv.bits // 8
    narrow = LANES if kv.bits == 16 else KV_BLOCK_DIMENSIONS
    j = start
    scales_at = _scales_at(kv, kv.value_scales, page_table, start, kv_head)
    while j < end:
        page_end = (j // page_size + 1) * page_size
        num_keys = min(end, page_end) - j
        page_at = _page_at(kv, kv.values, page_table, j, kv_head)
        values_at = page_at + (j % page_size) * row_bytes
        this_scales_at = scales_at + 2 * (j % page_size) * blocks
        weights_at = address_of(weights) + 4 * (j - base)
        ahead = 0
        if page_end < end:
            ahead = _page_at(kv, kv.values, page_table, page_end, kv_head) - page_at
            scales_at = _scales_at(kv, kv.value_scales, page_table, page_end, kv_head)
        d = 0
        while d + narrow <= num_dims:
            wide = d + LANES * WIDE <= num_dims
            weigh_values(
                num_queries,
                wide,
                kv.bits,
                values_at + d * kv.bits // 8,
                ahead,
                row_bytes,
                this_scales_at + 2 * (d // KV_BLOCK_DIMENSIONS),
                2 * blocks,
                num_keys,
                weights_at,
                4 * weights.shape[1],
                address_of(out) + 4 * d,
                4 * num_dims,
            )
            d += LANES * WIDE if wide else narrow
        for rest in range(d, num_dims):  # float16 with head sizes that are no multiple of 16
            for i in range(num_keys):
                value = load_half(values_at + i * row_bytes + 2 * rest)
                for r in range(num_queries):
                    out[r, rest] += weights[r, j - base + i] * value
        j += num_keys
