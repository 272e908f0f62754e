"""What scoring keys and weighing values share: tiles of up to seven queries of one key/value head.

Each score is a sum over dimensions in order, each output a sum over keys in order, and a key with
weight zero adds exactly nothing: a row's result does not depend on the rows beside it, nor on
where in a tree its ancestors stand. A softmax's sum is taken in integers for the same reason.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.vector import F32, I64, Emitter, Variable

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


def cases(
    builder: ir.IRBuilder, num_queries: ir.Value, is_wide: ir.Value, widths: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Each (number of queries, of vectors) of a tile; what is emitted meanwhile is for those.

    widths : vectors of a wide tile, of another
    """
    for count in switch(builder, num_queries, range(1, MOST_QUERIES + 1)):
        with builder.if_else(is_wide) as branches:
            for branch, num_vectors in zip(branches, widths, strict=True):
                with branch:
                    yield count, num_vectors


def switch(builder: ir.IRBuilder, value: ir.Value, known: Iterable[int]) -> Iterator[int]:
    """Each number that `value` may be; what is emitted meanwhile is for that one."""
    for number in known:
        with builder.if_then(builder.icmp_signed("==", value, ir.Constant(I64, number))):
            yield number


def prefetch(e: Emitter, address: ir.Value, num_bytes: int) -> None:
    """As `prefetch_bytes`, emitted in place; at least one line."""
    for line in range(0, num_bytes, 64):
        e.prefetch(e.address(address, line))


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
