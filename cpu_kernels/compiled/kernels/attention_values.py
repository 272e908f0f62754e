"""Sums of values of float16, int8 or int4 that a tile's queries weigh."""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.attention_tile import WIDE, cases, prefetch, switch
from slipstream.cpu_kernels.compiled.kernels.vector import LANES, Emitter, Variable


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
        for width in switch(builder, bits, _VALUE_FORMS):
            widths = (WIDE, _VALUE_FORMS[width].narrow)
            for num_rows, num_vectors in cases(builder, num_queries, is_wide, widths):
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
        prefetch(e, e.address(value, ahead), LANES * num_vectors * bits // 8)
        scale = e.address(scales, e.builder.mul(j, scale_stride))
        parts = _VALUE_FORMS[bits].load(e, num_vectors, value, scale)
        for r, row in enumerate(totals):
            weight = e.splat_f32(e.address(weights, e.times(weight_stride, r), e.times(j, 4)))
            for total, part in zip(row, parts, strict=True):
                total.set(e.fma(part, weight, total.get()))
    for row, row_places in zip(totals, places, strict=True):
        for total, at in zip(row, row_places, strict=True):
            e.store(total.get(), at)
