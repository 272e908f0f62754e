"""The largest numbers of rows: of each stretch of columns first, then of those."""

import triton
import triton.language as tl


@triton.jit
def top_of_stretches(x, ids, values, columns, K: tl.constexpr, BLOCK: tl.constexpr):
    """Program (m, b): the K largest of columns b BLOCK .. of row m, largest first.

    x           : (M, C) float32
    ids, values : (M, stretches, K) int32 and float32; -1 and -infinity where there are no more
    """
    row, stretch = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = stretch * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + row * columns + at, mask=at < columns, other=float("-inf"))
    value = tl.where(value == value, value, float("-inf"))  # NaN is never among them
    place = (row * tl.num_programs(1) + stretch) * K
    for i in range(K):
        best, where = tl.max(value, axis=0, return_indices=True, return_indices_tie_break_left=True)
        tl.store(values + place + i, best)
        tl.store(ids + place + i, tl.where(best > float("-inf"), stretch * BLOCK + where, -1))
        value = tl.where(at == stretch * BLOCK + where, float("-inf"), value)


@triton.jit
def top_of_candidates(
    ids, values, out_ids, out, num_candidates, K: tl.constexpr, BLOCK: tl.constexpr
):
    """Program m: the K largest of row m's candidates, which lie by stretch and then by size.

    Of equal ones the earlier has the lower column, so the first that is found is the right one.
    """
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < num_candidates
    value = tl.load(values + row * num_candidates + at, mask=inside, other=float("-inf"))
    for i in range(K):
        best, where = tl.max(value, axis=0, return_indices=True, return_indices_tie_break_left=True)
        chosen = tl.load(ids + row * num_candidates + where)
        tl.store(out + row * K + i, best)
        tl.store(out_ids + row * K + i, tl.where(best > float("-inf"), chosen, -1))
        value = tl.where(at == where, float("-inf"), value)
