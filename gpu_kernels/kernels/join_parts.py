"""Joins what a row gathered from parts of its keys. Source: Flash-Decoding."""

import triton
import triton.language as tl

from slipstream.gpu_kernels.kernels.hadamard import FROM_PAGES, hadamard_of_heads


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
    BITS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Program (m, h): what row m and head h gathered in all parts, in the order of the keys.

    parts (M, H, P, D), highest and totals (M, H, P), out (M, H, D), all float32. A part without a
    key that the row sees has the total 0 and changes no bit. BITS are those of a number in the
    pages: with 4, what values went through is undone.
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
    if BITS == 4:
        gathered = hadamard_of_heads(gathered, FROM_PAGES)
    tl.store(out + place * HEAD_SIZE + d, tl.div_rn(gathered, total), mask=inside)
