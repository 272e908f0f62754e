"""Softmax attention over paged keys and values, with a running maximum.

Source: arXiv:1706.03762, eq. 1; the running maximum: arXiv:1805.02867; parts of the keys by
programs of their own, joined afterwards by `join_parts`: Flash-Decoding.
"""

import triton
import triton.language as tl

from slipstream.gpu_kernels.kernels.float16_halves import halves
from slipstream.gpu_kernels.kernels.hadamard import FROM_PAGES, hadamard_of_heads
from slipstream.gpu_kernels.kernels.key_scores import scores_of_float16, scores_of_quantised
from slipstream.gpu_kernels.kernels.weighted_values import (
    weighted_float16_values,
    weighted_quantised_values,
)

# Weights are at most this, so that float16 halves hold the small ones too; it cancels out.
_LARGEST_WEIGHT = tl.constexpr(16384.0)
_ANY_SEQUENCE = tl.constexpr(2147483647)


@triton.jit(do_not_specialize=["num_rows", "most_pages", "most_new"])
def attend(
    high,
    low,
    query_scales,
    keys,
    values,
    key_scales,
    value_scales,
    sequences,
    page_tables,
    past,
    num_new,
    first_key,
    mask,
    out,
    highest,
    totals,
    num_rows,
    num_heads,
    num_kv_heads,
    most_pages,
    most_new,
    HEAD_SIZE: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    BITS: tl.constexpr,
    IN_INT8: tl.constexpr,
    GROUP: tl.constexpr,
    KEYS_A_PART: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Program (t, h, p): queries t BLOCK_Q .. of those that read key/value head h, rows first.

    high, low, query_scales : see `pack_queries`
    BITS        : of a number in the pages; IN_INT8: whether quantised keys are multiplied as int8
    KEYS_A_PART : 0, and `out` (M, H, D) is what the rows gather from all their keys; else program p
                  takes keys p KEYS_A_PART .. only, and leaves the sum of weighted values in `out`
                  (M, H, P, D), the largest score in `highest` and the sum of weights in `totals`
                  (M, H, P), for `join_parts`
    Others as in the reference's `attention`. A number that is not finite reaches the rows that see
    it and no others.
    """
    tile, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    query, d = tile * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D)
    row = query // GROUP
    in_use = row < num_rows
    place = row.to(tl.int64) * num_heads + head * GROUP + query % GROUP
    owner = tl.load(sequences + row, mask=in_use, other=-1)
    since = tl.load(first_key + row, mask=in_use, other=0)
    largest = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    gathered = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    first_owner = tl.min(tl.where(in_use, owner, _ANY_SEQUENCE))
    rows_after = tl.max(tl.where(in_use, row, 0)) + 1 - _rows_before(num_new, first_owner)
    for s in range(first_owner, tl.max(owner) + 1):
        mine = owner == s
        committed, new = tl.load(past + s), tl.load(num_new + s)
        end = committed + tl.minimum(new, rows_after)  # no row sees a later one
        rows_after -= new
        start = part * KEYS_A_PART
        if KEYS_A_PART > 0:
            end = tl.minimum(end, start + KEYS_A_PART)
        unseen = tl.min(tl.where(mine, since, committed))
        start = tl.maximum(start, unseen // BLOCK_KEYS * BLOCK_KEYS)
        for first in range(start, end, BLOCK_KEYS):
            j = first + tl.arange(0, BLOCK_KEYS)
            inside = j < end
            page = tl.load(page_tables + s * most_pages + first // PAGE_SIZE).to(tl.int64)
            page = page * num_kv_heads + head
            offset = first % PAGE_SIZE
            if BITS == 16:
                scores = scores_of_float16(
                    high, low, query_scales, place, in_use, keys, page, offset,
                    HEAD_SIZE, PAGE_SIZE, BLOCK_Q, BLOCK_D, BLOCK_KEYS
                )  # fmt: skip
            else:
                scores = scores_of_quantised(
                    high, query_scales, place, in_use, keys, key_scales, page, offset,
                    HEAD_SIZE, PAGE_SIZE, BLOCK_Q, BLOCK_D, BLOCK_KEYS, BITS, IN_INT8
                )  # fmt: skip
            seen = _seen(mask + row * most_new, j, inside, committed, since, mine)
            scores = tl.where(seen, scores, float("-inf"))
            now = tl.maximum(largest, tl.max(scores, axis=1))
            base = tl.where(now == float("-inf"), 0.0, now)
            weights = tl.exp(scores - base[:, None]) * _LARGEST_WEIGHT
            faded = tl.where(largest == float("-inf"), 0.0, tl.exp(largest - base))
            weights_high, weights_low = halves(weights)
            if BITS == 16:
                products, broken = weighted_float16_values(
                    weights_high, weights_low, values, page * PAGE_SIZE + offset, inside,
                    HEAD_SIZE, BLOCK_D, BLOCK_KEYS
                )  # fmt: skip
            else:
                products, broken = weighted_quantised_values(
                    weights_high, weights_low, values, value_scales, page * PAGE_SIZE + offset,
                    inside, HEAD_SIZE, BLOCK_D, BLOCK_KEYS, BITS
                )  # fmt: skip
            weights = tl.where(seen & broken[None, :], float("nan"), weights)
            total = total * faded + tl.sum(weights, axis=1)
            gathered = gathered * faded[:, None] + products
            largest = now
    if KEYS_A_PART > 0:
        place = place * tl.num_programs(2) + part
        num_keys = tl.load(past + owner, mask=in_use, other=0)
        num_keys += tl.load(num_new + owner, mask=in_use, other=0)
        in_use = in_use & (part * KEYS_A_PART < num_keys)  # `join_parts` reads no others
        tl.store(highest + place, largest, mask=in_use)
        tl.store(totals + place, total, mask=in_use)
    else:
        if BITS == 4:
            gathered = hadamard_of_heads(gathered, FROM_PAGES)
        gathered = tl.div_rn(gathered, total[:, None])
    tl.store(
        out + place[:, None] * HEAD_SIZE + d[None, :],
        gathered,
        mask=in_use[:, None] & (d < HEAD_SIZE)[None, :],
    )


@triton.jit
def _rows_before(num_new, sequence):
    """New rows of the sequences before this one."""
    rows = 0
    for first in range(0, sequence, 128):
        s = first + tl.arange(0, 128)
        rows += tl.sum(tl.load(num_new + s, mask=s < sequence, other=0))
    return rows


@triton.jit
def _seen(mask_rows, j, inside, committed, since, in_use):
    """Which of the keys j each query sees, (BLOCK_Q, BLOCK_KEYS); see `Visibility`."""
    new = j - committed
    is_new = (new >= 0) & inside
    allowed = tl.load(
        mask_rows[:, None] + new[None, :], mask=in_use[:, None] & is_new[None, :], other=0
    )
    seen = tl.where(is_new[None, :], allowed != 0, j[None, :] >= since[:, None])
    return seen & in_use[:, None] & inside[None, :]
