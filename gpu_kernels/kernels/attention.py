"""Softmax attention over paged keys and values, with a running maximum.

Source: arXiv:1706.03762, eq. 1; the running maximum: arXiv:1805.02867; parts of the keys by
programs of their own, joined afterwards: Flash-Decoding.
"""

import triton
import triton.language as tl

from slipstream.gpu_kernels.kernels.row_steps import rounded_to_int8


@triton.jit(do_not_specialize=["num_rows", "most_pages", "most_new"])
def attend(
    q,
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
    scale,
    num_rows,
    num_heads,
    num_kv_heads,
    most_pages,
    most_new,
    HEAD_SIZE: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    INT8: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS_A_PART: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Program (t, h, p): rows t ROWS .. and the GROUP query heads that read key/value head h.

    KEYS_A_PART : 0, and `out` (M, H, D) is what the rows gather from all their keys; else program p
                  takes keys p KEYS_A_PART .. only, and leaves the sum of weighted values in `out`
                  (M, H, P, D), the largest score in `highest` and the sum of weights in `totals`
                  (M, H, P), for `join_parts`
    Others as in the reference's `attention`. A number that is not finite reaches the rows that see
    it and no others.
    """
    tile, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    i, d = tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D)
    row = tile * ROWS + i // GROUP
    in_use = (i < ROWS * GROUP) & (row < num_rows)
    place = row.to(tl.int64) * num_heads + head * GROUP + i % GROUP
    query = _queries(q, place, in_use, scale, HEAD_SIZE, INT8, BLOCK_Q, BLOCK_D)
    owner = tl.load(sequences + row, mask=in_use, other=-1)
    since = tl.load(first_key + row, mask=in_use, other=0)
    largest = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    gathered = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for s in range(tl.min(tl.where(in_use, owner, 2147483647)), tl.max(owner) + 1):
        committed = tl.load(past + s)
        end = committed + tl.load(num_new + s)
        start = part * KEYS_A_PART
        if KEYS_A_PART > 0:
            end = tl.minimum(end, start + KEYS_A_PART)
        unseen = tl.min(tl.where(in_use & (owner == s), since, committed))
        start = tl.maximum(start, unseen // BLOCK_KEYS * BLOCK_KEYS)
        for first in range(start, end, BLOCK_KEYS):
            j = first + tl.arange(0, BLOCK_KEYS)
            inside = j < end
            table = page_tables + s * most_pages
            page, offset = _places(table, first, inside, PAGE_SIZE, BLOCK_KEYS)
            page = page * num_kv_heads + head
            seen = _seen(mask + row * most_new, j, inside, committed, since, in_use & (owner == s))
            key = _keys(keys, key_scales, page, offset, inside, HEAD_SIZE, PAGE_SIZE, INT8, BLOCK_D)
            scores = tl.dot(query, key, input_precision="ieee")
            scores = tl.where(seen, scores, float("-inf"))
            now = tl.maximum(largest, tl.max(scores, axis=1))
            base = tl.where(now == float("-inf"), 0.0, now)
            weights = tl.exp(scores - base[:, None])
            faded = tl.where(largest == float("-inf"), 0.0, tl.exp(largest - base))
            value = _values(
                values, value_scales, page, offset, inside, HEAD_SIZE, PAGE_SIZE, INT8, BLOCK_D
            )
            is_finite = value - value == 0  # zero times what is not finite would reach all rows
            broken = tl.min(tl.where(is_finite, 1, 0), axis=1) == 0
            value = tl.where(is_finite, value, 0.0)
            total = total * faded + tl.sum(weights, axis=1)
            gathered = tl.dot(weights, value, gathered * faded[:, None], input_precision="ieee")
            hit = tl.max(tl.where(seen & broken[None, :], 1, 0), axis=1) > 0
            total = tl.where(hit, float("nan"), total)
            largest = now
    if KEYS_A_PART > 0:
        place = place * tl.num_programs(2) + part
        num_keys = tl.load(past + owner, mask=in_use, other=0)
        num_keys += tl.load(num_new + owner, mask=in_use, other=0)
        in_use = in_use & (part * KEYS_A_PART < num_keys)  # `join_parts` reads no others
        tl.store(highest + place, largest, mask=in_use)
        tl.store(totals + place, total, mask=in_use)
    else:
        gathered = tl.div_rn(gathered, total[:, None])
    tl.store(
        out + place[:, None] * HEAD_SIZE + d[None, :],
        gathered,
        mask=in_use[:, None] & (d < HEAD_SIZE)[None, :],
    )


@triton.jit
def _queries(
    q,
    place,
    in_use,
    scale,
    HEAD_SIZE: tl.constexpr,
    INT8: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Queries (BLOCK_Q, BLOCK_D) float32 times `scale`; zeros past the head's dimensions."""
    d = tl.arange(0, BLOCK_D)
    wanted = in_use[:, None] & (d < HEAD_SIZE)[None, :]
    query = scale * tl.load(q + place[:, None] * HEAD_SIZE + d[None, :], mask=wanted, other=0.0)
    if INT8:  # as the CPU's kernels do, so that the devices agree
        quants, steps = rounded_to_int8(tl.reshape(query, (BLOCK_Q * (BLOCK_D // 32), 32)))
        query = tl.reshape(quants * steps[:, None], (BLOCK_Q, BLOCK_D))
    return query


@triton.jit
def _places(table, first, inside, PAGE_SIZE: tl.constexpr, BLOCK_KEYS: tl.constexpr):
    """Pages (BLOCK_KEYS,) int64 and places in them, of the keys from `first` on."""
    key = tl.arange(0, BLOCK_KEYS)
    if PAGE_SIZE % BLOCK_KEYS == 0:  # one page, so that keys are known to be neighbours
        page = tl.load(table + first // PAGE_SIZE).to(tl.int64) + tl.zeros((BLOCK_KEYS,), tl.int64)
        offset = first % PAGE_SIZE + key
    else:
        page = tl.load(table + (first + key) // PAGE_SIZE, mask=inside, other=0).to(tl.int64)
        offset = (first + key) % PAGE_SIZE
    return page, offset


@triton.jit
def _seen(mask_rows, j, inside, committed, since, in_use):
    """Which of the keys j each row sees, (BLOCK_Q, BLOCK_KEYS); see `Visibility`."""
    new = j - committed
    is_new = (new >= 0) & inside
    allowed = tl.load(
        mask_rows[:, None] + new[None, :], mask=in_use[:, None] & is_new[None, :], other=0
    )
    seen = tl.where(is_new[None, :], allowed != 0, j[None, :] >= since[:, None])
    return seen & in_use[:, None] & inside[None, :]


@triton.jit
def _keys(
    keys,
    scales,
    page,
    offset,
    inside,
    HEAD_SIZE: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    INT8: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Keys (BLOCK_D, BLOCK_KEYS) float32; zeros past the head's dimensions."""
    d = tl.arange(0, BLOCK_D)
    wanted = (d < HEAD_SIZE)[:, None] & inside[None, :]
    if INT8:
        at = (page * (HEAD_SIZE // 4))[None, :] + (d // 4)[:, None]
        words = tl.load(keys + at * PAGE_SIZE + offset[None, :], mask=wanted, other=0)
        quants = ((words >> (d % 4 * 8)[:, None]) & 255) - 128
        at = (page * (HEAD_SIZE // 32))[None, :] + (d // 32)[:, None]
        scale = tl.load(scales + at * PAGE_SIZE + offset[None, :], mask=wanted, other=0.0)
        return quants.to(tl.float32) * scale.to(tl.float32)
    at = (page * HEAD_SIZE)[None, :] + d[:, None]
    return tl.load(keys + at * PAGE_SIZE + offset[None, :], mask=wanted, other=0.0).to(tl.float32)


@triton.jit
def _values(
    values,
    scales,
    page,
    offset,
    inside,
    HEAD_SIZE: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    INT8: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Values (BLOCK_KEYS, BLOCK_D) float32; zeros past the head's dimensions."""
    d = tl.arange(0, BLOCK_D)
    wanted = inside[:, None] & (d < HEAD_SIZE)[None, :]
    place = (page * PAGE_SIZE + offset)[:, None]
    value = tl.load(values + place * HEAD_SIZE + d[None, :], mask=wanted, other=0).to(tl.float32)
    if INT8:
        at = place * (HEAD_SIZE // 32) + (d // 32)[None, :]
        value *= tl.load(scales + at, mask=wanted, other=0.0).to(tl.float32)
    return value


@triton.jit(do_not_specialize=["num_parts"])
def join_parts(
    parts,
    highest,
    totals,
    sequences,
    past,
    num_new,
    out,
    num_parts,
    HEAD_SIZE: tl.constexpr,
    KEYS_A_PART: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Program (m, h): what row m and head h gathered in all parts, in the order of the keys.

    parts (M, H, P, D), highest and totals (M, H, P), out (M, H, D), all float32. A part without a
    key that the row sees has the total 0 and changes no bit.
    """
    row = tl.program_id(0)
    place = row.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    owner = tl.load(sequences + row)
    num_keys = tl.load(past + owner) + tl.load(num_new + owner)
    d = tl.arange(0, BLOCK_D)
    inside = d < HEAD_SIZE
    at = place * num_parts
    largest, total = tl.load(highest + at), tl.load(totals + at)
    gathered = tl.load(parts + at * HEAD_SIZE + d, mask=inside, other=0.0)
    for part in range(1, tl.cdiv(num_keys, KEYS_A_PART)):
        at = place * num_parts + part
        theirs = tl.load(highest + at)
        now = tl.maximum(largest, theirs)
        base = tl.where(now == float("-inf"), 0.0, now)
        mine_faded = tl.where(largest == float("-inf"), 0.0, tl.exp(largest - base))
        theirs_faded = tl.where(theirs == float("-inf"), 0.0, tl.exp(theirs - base))
        part_total = tl.load(totals + at)
        value = tl.load(parts + at * HEAD_SIZE + d, mask=inside, other=0.0)
        # A NaN in a total must show, also where its part has no other weight.
        total = total * mine_faded + part_total * theirs_faded + 0 * part_total
        gathered = gathered * mine_faded + value * theirs_faded
        largest = now
    tl.store(out + place * HEAD_SIZE + d, tl.div_rn(gathered, total), mask=inside)
