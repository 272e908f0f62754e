"""Products of packed rows with word planes, and of float32 rows with a float weight."""

import triton
import triton.language as tl

NO_SUB_SCALES, SUB_SCALES, NIBBLES = range(3)  # how a format's sub-scales are stored
_NO_SUB_SCALES, _NIBBLES = tl.constexpr(NO_SUB_SCALES), tl.constexpr(NIBBLES)
SEGMENT_BLOCKS = 32  # of 32 columns each, whose sum is made before it is added to the others
_SEGMENT_BLOCKS = tl.constexpr(SEGMENT_BLOCKS)


@triton.jit(do_not_specialize=["num_rows", "first_column"])
def multiply_planes(
    quants,
    scales,
    sums,
    low,
    high,
    weight_scales,
    weight_minimums,
    sub_scales,
    sub_minimums,
    table,
    bias,
    out,
    num_rows,
    weight_rows,
    columns,
    out_columns,
    first_column,
    LOW_BITS: tl.constexpr,
    HIGH_BITS: tl.constexpr,
    UNIT_BLOCKS: tl.constexpr,
    OFFSET: tl.constexpr,
    HAS_TABLE: tl.constexpr,
    BFLOAT16: tl.constexpr,
    SUB: tl.constexpr,
    HALVES: tl.constexpr,
    HAS_MINIMUM: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    UNROLL: tl.constexpr,
    SPLIT: tl.constexpr,
    IN_INT8: tl.constexpr,
):
    """Program (i, j): rows i BLOCK_M .. of x by rows j BLOCK_N .. of the weight.

    quants, scales, sums : see `pack_rows`
    low .. sub_minimums  : see `slipstream.gpu_kernels.word_planes`
    out                  : (M, out_columns) float32; these products from `first_column` on. With
                           SPLIT, where program (i, j, s) sums segment s alone:
                           (segments, M, N) float32, for `join_segments`
    IN_INT8              : products are of int8 with int32 sums, else of float16 with float32 sums:
                           the same numbers, since both are whole and below 2**24

    Sums of 32 products (16 where HALVES is 2) are exact integers, those of a segment are added in
    the order of the columns, and the segments' sums in their order: a row's bits do not depend on
    how many rows there are, nor on the blocks, nor on SPLIT.
    """
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_weight, in_x = n < weight_rows, m < num_rows
    num_blocks = columns // 32
    num_segments = tl.cdiv(num_blocks, _SEGMENT_BLOCKS)
    first_segment, last_segment = 0, num_segments
    if SPLIT:
        first_segment = tl.program_id(2)
        last_segment = first_segment + 1
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for segment in range(first_segment, last_segment):
        first_block = segment * _SEGMENT_BLOCKS
        total += _segment_sum(
            quants, scales, sums, low, high, weight_scales, weight_minimums, sub_scales,
            sub_minimums, table, m, n, in_x, in_weight, num_blocks, first_block,
            tl.minimum(first_block + _SEGMENT_BLOCKS, num_blocks), LOW_BITS, HIGH_BITS,
            UNIT_BLOCKS, OFFSET, HAS_TABLE, BFLOAT16, SUB, HALVES, HAS_MINIMUM, BLOCK_M, BLOCK_N,
            UNROLL, IN_INT8
        )  # fmt: skip
    if SPLIT:
        at = (first_segment * num_rows + m).to(tl.int64)[:, None] * weight_rows + n[None, :]
        tl.store(out + at, total, mask=in_x[:, None] & in_weight[None, :])
    else:
        _finish(
            total, bias, out, m, n, in_x, in_weight, out_columns, first_column, HAS_BIAS, ACCUMULATE
        )


@triton.jit
def _segment_sum(
    quants,
    scales,
    sums,
    low,
    high,
    weight_scales,
    weight_minimums,
    sub_scales,
    sub_minimums,
    table,
    m,
    n,
    in_x,
    in_weight,
    num_blocks,
    first_block,
    last_block,
    LOW_BITS: tl.constexpr,
    HIGH_BITS: tl.constexpr,
    UNIT_BLOCKS: tl.constexpr,
    OFFSET: tl.constexpr,
    HAS_TABLE: tl.constexpr,
    BFLOAT16: tl.constexpr,
    SUB: tl.constexpr,
    HALVES: tl.constexpr,
    HAS_MINIMUM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    UNROLL: tl.constexpr,
    IN_INT8: tl.constexpr,
):
    """The sum (BLOCK_M, BLOCK_N) float32 over blocks of columns first_block .. last_block - 1."""
    panel, lane = (n // 16).to(tl.int64), n % 16
    k = tl.arange(0, 32)
    x_row = m.to(tl.int64) * num_blocks * 32
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(first_block, last_block, UNROLL):
        for step in tl.static_range(UNROLL):
            block = first + step
            place = (panel * num_blocks + block) * 16 + lane
            codes = _codes(low, place, in_weight, LOW_BITS, BLOCK_N)
            if HIGH_BITS > 0:
                codes |= _codes(high, place, in_weight, HIGH_BITS, BLOCK_N) << LOW_BITS
            if HAS_TABLE:
                codes = tl.load(table + codes).to(tl.int32)
            weight = tl.trans((codes - OFFSET).to(tl.int8))
            x = tl.load(
                quants + x_row[:, None] + (block * 32 + k)[None, :], mask=in_x[:, None], other=0
            )
            x_scale = tl.load(scales + m * num_blocks + block, mask=in_x, other=0.0)
            unit = (panel * (num_blocks // UNIT_BLOCKS) + block // UNIT_BLOCKS) * 16 + lane
            unit_scale = _scale(weight_scales, unit, in_weight, BFLOAT16)
            for half in tl.static_range(HALVES):
                part = x
                if HALVES == 2:
                    part = tl.where((k // 16 == half)[None, :], x, 0).to(tl.int8)
                products = _products(part, weight, IN_INT8)
                factor = unit_scale
                sub = ((panel * num_blocks + block) * HALVES + half) * 16 + lane
                if SUB != _NO_SUB_SCALES:
                    sub_scale = tl.load(sub_scales + sub, mask=in_weight, other=0).to(tl.int32)
                    if SUB == _NIBBLES:
                        factor *= (sub_scale & 15).to(tl.float32)
                    else:
                        factor *= sub_scale.to(tl.float32)
                total += products * x_scale[:, None] * factor[None, :]
                if HAS_MINIMUM:
                    minimum = _scale(weight_minimums, unit, in_weight, False)
                    if SUB == _NIBBLES:
                        minimum *= -(sub_scale >> 4).to(tl.float32)
                    elif SUB != _NO_SUB_SCALES:
                        times = tl.load(sub_minimums + sub, mask=in_weight, other=0)
                        minimum *= -times.to(tl.float32)
                    at = m * (num_blocks * 2) + block * 2 + half
                    x_sum = tl.load(sums + at, mask=in_x, other=0.0)
                    if HALVES == 1:
                        x_sum += tl.load(sums + at + 1, mask=in_x, other=0.0)
                    total += x_sum[:, None] * minimum[None, :]
    return total


@triton.jit
def _products(x, weight, IN_INT8: tl.constexpr):
    """Sums of products (BLOCK_M, BLOCK_N) float32 of int8 numbers, without rounding."""
    if IN_INT8:
        return tl.dot(x, weight, out_dtype=tl.int32).to(tl.float32)
    return tl.dot(x.to(tl.float16), weight.to(tl.float16))


@triton.jit
def _codes(plane, place, in_weight, BITS: tl.constexpr, BLOCK_N: tl.constexpr):
    """The codes (BLOCK_N, 32) int32 that a plane holds for one block of each row."""
    at = (place * BITS)[:, None] + tl.arange(0, BITS)[None, :]
    words = tl.load(plane + at, mask=in_weight[:, None], other=0)
    shifts = tl.arange(0, 32 // BITS) * BITS
    codes = (words[:, :, None] >> shifts[None, None, :]) & ((1 << BITS) - 1)
    return tl.reshape(codes, (BLOCK_N, 32))


@triton.jit
def _scale(scales, place, in_weight, BFLOAT16: tl.constexpr):
    """The scales (BLOCK_N,) float32 at these places."""
    if BFLOAT16:
        bits = tl.load(scales + place, mask=in_weight, other=0).to(tl.int32)
        return (bits << 16).to(tl.float32, bitcast=True)
    return tl.load(scales + place, mask=in_weight, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["num_rows", "first_column"])
def multiply_floats(
    x,
    weight,
    bias,
    out,
    num_rows,
    weight_rows,
    columns,
    out_columns,
    first_column,
    BFLOAT16: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program (i, j): rows i BLOCK_M .. of x by rows j BLOCK_N .. of the weight, in float32.

    x      : (M, C) float32
    weight : (N, C) float32, float16, or int16: the bits of bfloat16
    out    : as in `multiply_planes`
    """
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_weight, in_x = n < weight_rows, m < num_rows
    x_row, weight_row = m.to(tl.int64) * columns, n.to(tl.int64) * columns
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, columns, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        in_row = k < columns
        a = tl.load(
            x + x_row[:, None] + k[None, :], mask=in_x[:, None] & in_row[None, :], other=0.0
        )
        b = _scale(
            weight, weight_row[None, :] + k[:, None], in_weight[None, :] & in_row[:, None], BFLOAT16
        )
        total = tl.dot(a, b, total, input_precision="ieee")
    _finish(
        total, bias, out, m, n, in_x, in_weight, out_columns, first_column, HAS_BIAS, ACCUMULATE
    )


@triton.jit(do_not_specialize=["num_rows", "first_column"])
def join_segments(
    parts,
    bias,
    out,
    num_rows,
    weight_rows,
    num_segments,
    out_columns,
    first_column,
    HAS_BIAS: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program (m, j): rows j BLOCK .. of the weight by row m of x, from sums of the segments.

    parts : (segments, M, N) float32
    out   : as in `multiply_planes`
    """
    m = tl.program_id(0) + tl.arange(0, 1)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    in_weight, in_x = n < weight_rows, m < num_rows
    total = tl.zeros((1, BLOCK), tl.float32)
    for segment in range(num_segments):
        at = (segment * num_rows + m).to(tl.int64)[:, None] * weight_rows + n[None, :]
        total += tl.load(parts + at, mask=in_weight[None, :], other=0.0)
    _finish(
        total, bias, out, m, n, in_x, in_weight, out_columns, first_column, HAS_BIAS, ACCUMULATE
    )


@triton.jit
def _finish(
    total,
    bias,
    out,
    m,
    n,
    in_x,
    in_weight,
    out_columns,
    first_column,
    HAS_BIAS: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """Add the bias and what is there, and store."""
    at = m.to(tl.int64)[:, None] * out_columns + (first_column + n)[None, :]
    inside = in_x[:, None] & in_weight[None, :]
    if HAS_BIAS:
        total += tl.load(bias + first_column + n, mask=in_weight, other=0.0)[None, :]
    if ACCUMULATE:
        total += tl.load(out + at, mask=inside, other=0.0)
    tl.store(out + at, total, mask=inside)
