"""The inner loops of attention: four queries that share one key/value head.

Keys lie transposed in their pages, so 16 keys are one vector and a score needs no horizontal sum.
Each score is a sum over dimensions in order, each output a sum over keys in order, and a key with
weight zero adds exactly nothing: a row's result does not depend on the rows beside it, nor on
where in a tree its ancestors stand.
"""

from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.vector import LANES, Emitter, Variable

TILE_QUERIES = 4
KEYS_A_BLOCK = LANES
_F16_BYTES, _F32_BYTES = 2, 4


@intrinsic
def score_block(_context, keys, key_stride, queries, num_dims, scores, score_stride):
    """scores[r, 0:16] = queries[r] . keys[:, 0:16] for 4 queries.

    keys    : address of (D, 16) float16, rows `key_stride` bytes apart
    queries : address of (4, D) float32
    scores  : address of (4, 16) float32, rows `score_stride` bytes apart
    """

    def generate(context, builder, _signature, values):
        keys, key_stride, queries, num_dims, scores, score_stride = values
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        totals = [Variable(e, e.floats(0.0)) for _ in range(TILE_QUERIES)]
        row_bytes = e.times(num_dims, _F32_BYTES)
        with e.loop(num_dims) as d:
            column = e.load_floats("f16", e.address(keys, builder.mul(d, key_stride)))
            for r, total in enumerate(totals):
                at = e.address(queries, e.times(row_bytes, r), e.times(d, _F32_BYTES))
                total.set(e.fma(column, e.splat_f32(at), total.get()))
        for r, total in enumerate(totals):
            e.store(total.get(), e.address(scores, e.times(score_stride, r)))
        return context.get_dummy_value()

    return types.void(*[types.uint64] * 6), generate


@intrinsic(prefer_literal=True)
def weigh_values(
    _context, num_vectors, values, value_stride, num_keys, weights, weight_stride, out, out_stride
):
    """out[r, 0:16n] += sum over keys j of weights[r, j] * values[j, 0:16n], for 4 queries.

    num_vectors : n, a literal
    values      : address of (num_keys, 16n) float16, rows `value_stride` bytes apart
    weights     : address of (4, num_keys) float32, rows `weight_stride` bytes apart
    out         : address of (4, 16n) float32, rows `out_stride` bytes apart
    """
    count = num_vectors.literal_value

    def generate(context, builder, _signature, arguments):
        _, values, value_stride, num_keys, weights, weight_stride, out, out_stride = arguments
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        places = [
            [e.address(out, e.times(out_stride, r), _F32_BYTES * LANES * n) for n in range(count)]
            for r in range(TILE_QUERIES)
        ]
        totals = [[Variable(e, e.load_floats("f32", at)) for at in row] for row in places]
        with e.loop(num_keys) as j:
            value = e.address(values, builder.mul(j, value_stride))
            parts = [
                e.load_floats("f16", e.address(value, _F16_BYTES * LANES * n)) for n in range(count)
            ]
            for r, row in enumerate(totals):
                at = e.address(weights, e.times(weight_stride, r), e.times(j, _F32_BYTES))
                weight = e.splat_f32(at)
                for total, part in zip(row, parts, strict=True):
                    total.set(e.fma(part, weight, total.get()))
        for row, row_places in zip(totals, places, strict=True):
            for total, at in zip(row, row_places, strict=True):
                e.store(total.get(), at)
        return context.get_dummy_value()

    return types.void(num_vectors, *[types.uint64] * 7), generate
