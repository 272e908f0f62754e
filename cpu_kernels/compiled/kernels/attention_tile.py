"""The inner loops of attention: up to seven queries that share one key/value head.

Keys lie transposed in their pages, so 16 keys are one vector and a score needs no horizontal sum.
Each score is a sum over dimensions in order, each output a sum over keys in order, and a key with
weight zero adds exactly nothing: a row's result does not depend on the rows beside it, nor on
where in a tree its ancestors stand. A softmax's sum is taken in integers for the same reason.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.vector import (
    BYTES,
    F32,
    I64,
    LANES,
    Emitter,
    Variable,
)
from slipstream.cpu_kernels.compiled.packed_rows import BLOCK_WORDS, SCALE, SUM
from slipstream.cpu_kernels.compiled.panel_format import GROUPS

TILE_QUERIES = 6  # of a tile among others; with WIDE they fill the 32 registers of AVX-512
MOST_QUERIES = 7  # of a tile alone: reading the keys once is worth a register too many
WIDE = 4  # vectors of 16 keys or dimensions that the inner loops take at a time, if they can
WIDE_QUANTISED = 2  # as WIDE for quantised keys, which have sums in int32 beside those in float32


@intrinsic
def prefetch_bytes(_context, address, num_bytes):
    """Ask for the cache lines of `num_bytes` from `address`."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        with e.loop(builder.udiv(values[1], ir.Constant(I64, 64))) as line:
            e.prefetch(e.address(values[0], e.times(line, 64)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def score_keys(
    _context, num_queries, is_wide, keys, ahead, key_stride, queries, num_dims, scores, score_stride
):
    """scores[r, 0:16n] = queries[r] . keys[:, 0:16n] for each query r.

    is_wide : whether n is WIDE, else 1
    keys    : address of (D, 16n) float16, rows `key_stride` bytes apart
    ahead   : bytes from there to what is needed next, which is asked for line by line
    queries : address of (D, num_queries) float32
    scores  : address of (num_queries, 16n) float32, rows `score_stride` bytes apart
    """

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        num_queries, is_wide, *places = values
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        for num_rows, num_vectors in _cases(builder, num_queries, is_wide, (WIDE, 1)):
            _emit_scores(e, num_rows, num_vectors, *places)
        return context.get_dummy_value()

    return types.void(types.int64, types.boolean, *[types.int64] * 7), generate


def _cases(
    builder: ir.IRBuilder, num_queries: ir.Value, is_wide: ir.Value, widths: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Each (number of queries, of vectors) of a tile; what is emitted meanwhile is for those.

    widths : vectors of a wide tile, of another
    """
    for count in _switch(builder, num_queries, range(1, MOST_QUERIES + 1)):
        with builder.if_else(is_wide) as branches:
            for branch, num_vectors in zip(branches, widths, strict=True):
                with branch:
                    yield count, num_vectors


def _switch(builder: ir.IRBuilder, value: ir.Value, cases: Iterable[int]) -> Iterator[int]:
    """Each of the cases; what is emitted meanwhile is for that value."""
    for case in cases:
        with builder.if_then(builder.icmp_signed("==", value, ir.Constant(I64, case))):
            yield case


def _emit_scores(
    e: Emitter,
    num_queries: int,
    num_vectors: int,
    keys: ir.Value,
    ahead: ir.Value,
    key_stride: ir.Value,
    queries: ir.Value,
    num_dims: ir.Value,
    scores: ir.Value,
    score_stride: ir.Value,
) -> None:
    totals = _accumulators(e, num_queries, num_vectors)
    with e.loop(num_dims) as d:
        column = e.address(keys, e.builder.mul(d, key_stride))
        _prefetch(e, e.address(column, ahead), 2 * LANES * num_vectors)
        parts = [e.load_floats("f16", e.address(column, 2 * LANES * n)) for n in range(num_vectors)]
        for r, row in enumerate(totals):
            query = e.splat_f32(e.address(queries, e.times(d, 4 * num_queries), 4 * r))
            for total, part in zip(row, parts, strict=True):
                total.set(e.fma(part, query, total.get()))
    _store_scores(e, totals, scores, score_stride)


@intrinsic(prefer_literal=True)
def score_quantised_keys(
    _context,
    instruction_set,
    num_queries,
    is_wide,
    bits,
    keys,
    ahead,
    key_stride,
    key_scales,
    scale_stride,
    queries,
    num_blocks,
    scores,
    score_stride,
):
    """As `score_keys` for keys in int8 or int4.

    instruction_set : a literal
    is_wide    : whether n is WIDE_QUANTISED, else 1
    bits       : of a number, 8 or 4
    keys       : address of (D bits / 32, 16n) words, rows `key_stride` bytes apart
    key_scales : address of (D / 32, 16n) float16, rows `scale_stride` bytes apart
    queries    : address of D / 32 packed blocks of `num_queries` rows, see packed_rows
    """
    isa = INSTRUCTION_SETS[instruction_set.literal_value]

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        e = Emitter(builder, isa)
        _, num_queries, is_wide, bits, *places = values
        for width in _switch(builder, bits, (8, 4)):
            for num_rows, num_vectors in _cases(builder, num_queries, is_wide, (WIDE_QUANTISED, 1)):
                _emit_quantised_scores(e, num_rows, num_vectors, width, *places)
        return context.get_dummy_value()

    integers = [types.int64] * 10
    return types.void(instruction_set, types.int64, types.boolean, *integers), generate


def _emit_quantised_scores(
    e: Emitter,
    num_queries: int,
    num_vectors: int,
    bits: int,
    keys: ir.Value,
    ahead: ir.Value,
    key_stride: ir.Value,
    key_scales: ir.Value,
    scale_stride: ir.Value,
    queries: ir.Value,
    num_blocks: ir.Value,
    scores: ir.Value,
    score_stride: ir.Value,
) -> None:
    totals = _accumulators(e, num_queries, num_vectors)
    num_words = GROUPS * bits // 8
    with e.loop(num_blocks) as b:
        query = e.address(queries, e.times(b, 4 * BLOCK_WORDS * num_queries))

        def word(index: int, r: int) -> ir.Value:
            return e.address(query, 4 * (index * num_queries + r))

        dots = [[e.ints(0)] * num_vectors for _ in totals]
        for w in range(num_words):
            row = e.address(keys, e.builder.mul(e.address(e.times(b, num_words), w), key_stride))
            _prefetch(e, e.address(row, ahead), 4 * LANES * num_vectors)
            words = [e.load(BYTES, e.address(row, 4 * LANES * n)) for n in range(num_vectors)]
            for start in range(0, 8, bits):
                parts = [e.bits(each, start=start, width=bits) for each in words]
                for r, sums in enumerate(dots):
                    four = e.splat_bytes4(word(w + num_words * (start // bits), r))
                    sums[:] = [
                        e.dot4(dot, part, four, largest=(1 << bits) - 1)
                        for dot, part in zip(sums, parts, strict=True)
                    ]
        scales_at = e.address(key_scales, e.builder.mul(b, scale_stride))
        scales = [
            e.load_floats("f16", e.address(scales_at, 2 * LANES * n)) for n in range(num_vectors)
        ]
        lowest = e.floats(-float(1 << (bits - 1)))  # integers are stored unsigned
        for r, (row_totals, sums) in enumerate(zip(totals, dots, strict=True)):
            offset = e.mul(e.splat_f32(word(SUM, r)), lowest)
            query_scale = e.splat_f32(word(SCALE, r))
            for total, dot, scale in zip(row_totals, sums, scales, strict=True):
                value = e.fma(e.to_float(dot), query_scale, offset)
                total.set(e.fma(value, scale, total.get()))
    _store_scores(e, totals, scores, score_stride)


def _prefetch(e: Emitter, address: ir.Value, num_bytes: int) -> None:
    for line in range(0, num_bytes, 64):
        e.prefetch(e.address(address, line))


def _accumulators(e: Emitter, num_queries: int, num_vectors: int) -> list[list[Variable]]:
    return [[Variable(e, e.floats(0.0)) for _ in range(num_vectors)] for _ in range(num_queries)]


def _store_scores(
    e: Emitter, totals: Sequence[Sequence[Variable]], scores: ir.Value, stride: ir.Value
) -> None:
    for r, row in enumerate(totals):
        for n, total in enumerate(row):
            e.store(total.get(), e.address(scores, e.times(stride, r), 4 * LANES * n))


@intrinsic
def exp_and_sum(_context, scores, num_vectors):
    """exp(score - the largest) in place, 0 for minus infinity; returns their sum.

    scores : address of (16 num_vectors,) float32
    A score that is NaN or plus infinity makes its weight or the others' NaN. The sum is of weights
    cut to multiples of 2**-40, exactly: the order of the keys does not matter.
    """

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        scores, num_vectors = values
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        minus_infinity = e.floats(float("-inf"))
        peaks = Variable(e, minus_infinity)
        with e.loop(num_vectors) as n:
            score = e.load_floats("f32", e.address(scores, e.times(n, 64)))
            peaks.set(e.max_float(score, peaks.get()))
        peak = e.splat(e.highest_float(peaks.get()))
        sums = Variable(e, e.longs(0))
        with e.loop(num_vectors) as n:
            at = e.address(scores, e.times(n, 64))
            score = e.load_floats("f32", at)
            below = builder.fsub(score, peak)
            known = builder.fcmp_ordered("<=", below, e.floats(0.0))
            weight = builder.select(known, e.exp(below), e.floats(float("nan")))
            unseen = builder.fcmp_ordered("==", score, minus_infinity)
            weight = builder.select(unseen, e.floats(0.0), weight)
            e.store(weight, at)
            sums.set(builder.add(sums.get(), e.to_long(e.mul(weight, e.floats(2.0**40)))))
        total = builder.sitofp(e.total_long(sums.get()), F32)
        return builder.fmul(total, ir.Constant(F32, 2.0**-40))

    return types.float32(types.int64, types.int64), generate


class _ValueForm(NamedTuple):
    """How values lie in memory; load(emitter, vectors, address, address of scales)."""

    narrow: int  # vectors at a time where fewer than WIDE are left
    load: Callable[[Emitter, int, ir.Value, ir.Value], list[ir.Value]]


def _half_values(e: Emitter, count: int, value: ir.Value, _scale: ir.Value) -> list[ir.Value]:
    return [e.load_floats("f16", e.address(value, 2 * LANES * n)) for n in range(count)]


def _int8_values(e: Emitter, count: int, value: ir.Value, scale: ir.Value) -> list[ir.Value]:
    parts = []
    for n in range(count):
        integers = e.load_bytes_as_floats(e.address(value, LANES * n), signed=True)
        parts.append(e.mul(integers, e.splat(e.load_half(e.address(scale, 2 * (n // 2))))))
    return parts


def _int4_values(e: Emitter, count: int, value: ir.Value, scale: ir.Value) -> list[ir.Value]:
    parts = []
    for n in range(count):
        at, shift = e.address(value, LANES * (n // 2)), 4 * (n % 2)
        integers = e.load_bytes_as_floats(at, signed=False, shift=shift, mask=15)
        step = e.splat(e.load_half(e.address(scale, 2 * (n // 2))))
        parts.append(e.fma(integers, step, e.mul(step, e.floats(-8.0))))
    return parts


_VALUE_FORMS = {  # by the bits of a number
    16: _ValueForm(1, _half_values),
    8: _ValueForm(2, _int8_values),
    4: _ValueForm(2, _int4_values),
}


@intrinsic
def weigh_values(
    _context,
    num_queries,
    is_wide,
    bits,
    values,
    ahead,
    value_stride,
    scales,
    scale_stride,
    num_keys,
    weights,
    weight_stride,
    out,
    out_stride,
):
    """out[r, 0:16n] += sum over keys j of weights[r, j] * values[j, 0:16n].

    is_wide : whether n is WIDE, else 1, or 2 where values are quantised
    bits    : of a number: 16, 8 or 4
    values  : address of (num_keys, 16n) float16, int8 or int4, rows `value_stride` bytes apart
    ahead   : as in `score_keys`
    scales  : address of (num_keys, n / 2) float16, rows `scale_stride` bytes apart; not for float16
    weights : address of (num_queries, num_keys) float32, rows `weight_stride` bytes apart
    out     : address of (num_queries, 16n) float32, rows `out_stride` bytes apart
    """

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, given: Any) -> ir.Value:
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        num_queries, is_wide, bits, *places = given
        for width in _switch(builder, bits, _VALUE_FORMS):
            widths = (WIDE, _VALUE_FORMS[width].narrow)
            for num_rows, num_vectors in _cases(builder, num_queries, is_wide, widths):
                _emit_weighted_sums(e, num_rows, num_vectors, width, *places)
        return context.get_dummy_value()

    return types.void(types.int64, types.boolean, *[types.int64] * 11), generate


def _emit_weighted_sums(
    e: Emitter,
    num_queries: int,
    num_vectors: int,
    bits: int,
    values: ir.Value,
    ahead: ir.Value,
    value_stride: ir.Value,
    scales: ir.Value,
    scale_stride: ir.Value,
    num_keys: ir.Value,
    weights: ir.Value,
    weight_stride: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
) -> None:
    places = [
        [e.address(out, e.times(out_stride, r), 4 * LANES * n) for n in range(num_vectors)]
        for r in range(num_queries)
    ]
    totals = [[Variable(e, e.load_floats("f32", at)) for at in row] for row in places]
    with e.loop(num_keys) as j:
        value = e.address(values, e.builder.mul(j, value_stride))
        _prefetch(e, e.address(value, ahead), LANES * num_vectors * bits // 8)
        scale = e.address(scales, e.builder.mul(j, scale_stride))
        parts = _VALUE_FORMS[bits].load(e, num_vectors, value, scale)
        for r, row in enumerate(totals):
            weight = e.splat_f32(e.address(weights, e.times(weight_stride, r), e.times(j, 4)))
            for total, part in zip(row, parts, strict=True):
                total.set(e.fma(part, weight, total.get()))
    for row, row_places in zip(totals, places, strict=True):
        for total, at in zip(row, row_places, strict=True):
            e.store(total.get(), at)
