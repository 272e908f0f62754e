"""Scores of a tile's queries with keys of float16, int8 or int4.

Keys lie transposed in their pages, so 16 keys are one vector and a score needs no horizontal sum.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.attention_tile import (
    WIDE,
    WIDE_QUANTISED,
    cases,
    prefetch,
    switch,
)
from slipstream.cpu_kernels.compiled.kernels.vector import BYTES, LANES, Emitter, Variable
from slipstream.cpu_kernels.compiled.packed_rows import BLOCK_WORDS, SCALE, SUM
from slipstream.cpu_kernels.panel_format import GROUPS


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
        for num_rows, num_vectors in cases(builder, num_queries, is_wide, (WIDE, 1)):
            _emit_scores(e, num_rows, num_vectors, *places)
        return context.get_dummy_value()

    return types.void(types.int64, types.boolean, *[types.int64] * 7), generate


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
        prefetch(e, e.address(column, ahead), 2 * LANES * num_vectors)
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
        for width in switch(builder, bits, (8, 4)):
            for num_rows, num_vectors in cases(builder, num_queries, is_wide, (WIDE_QUANTISED, 1)):
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
            prefetch(e, e.address(row, ahead), 4 * LANES * num_vectors)
            _add_products(e, bits, row, lambda part, r, w=w: word(w + num_words * part, r), dots)
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


def _add_products(
    e: Emitter,
    bits: int,
    row: ir.Value,
    word: Callable[[int, int], ir.Value],
    dots: list[list[ir.Value]],
) -> None:
    """Add to dots[r][n] the products of one row of words with those of query r.

    row  : address of (16n,) words, 4 bytes each, whose lowest `bits` are part 0
    word : word(part, r) is the address of the 4 numbers of query r that part meets
    """
    words = [e.load(BYTES, e.address(row, 4 * LANES * n)) for n in range(len(dots[0]))]
    for part in range(8 // bits):
        keys = [e.bits(each, start=part * bits, width=bits) for each in words]
        for r, sums in enumerate(dots):
            four = e.splat_bytes4(word(part, r))
            for n, key in enumerate(keys):
                sums[n] = e.dot4(sums[n], key, four, largest=(1 << bits) - 1)


def _accumulators(e: Emitter, num_queries: int, num_vectors: int) -> list[list[Variable]]:
    return [[Variable(e, e.floats(0.0)) for _ in range(num_vectors)] for _ in range(num_queries)]


def _store_scores(
    e: Emitter, totals: Sequence[Sequence[Variable]], scores: ir.Value, stride: ir.Value
) -> None:
    for r, row in enumerate(totals):
        for n, total in enumerate(row):
            e.store(total.get(), e.address(scores, e.times(stride, r), 4 * LANES * n))
