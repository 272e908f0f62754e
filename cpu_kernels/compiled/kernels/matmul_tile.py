"""The matrix product's inner loop: one panel of 16 weight rows times a tile of activation rows.

The panel's bits are unpacked once for all activation rows. A row's sum is built in the same order
whatever the other rows are, so its result does not depend on how many rows a step has.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.vector import BYTES, LANES, Emitter, F32x16, Variable
from slipstream.cpu_kernels.compiled.packed_rows import BLOCK_BYTES, LOW_SUM, SCALE, SUM
from slipstream.cpu_kernels.panel_format import (
    BLOCK_COLUMNS,
    FLOAT_DTYPES,
    GROUPS,
    PANEL_FORMATS,
    PanelFormat,
)
from slipstream.cpu_kernels.quant_types import QuantType

_PREFETCH_BYTES = 8192  # ahead: memory answers while 8 rows are multiplied; 2,048 were too few
_CACHE_LINE = 64


def tile(quant_type: str, num_rows: int, instruction_set: str) -> Any:
    """The kernel for so many activation rows. All it is told are addresses and byte strides."""

    @kernel()
    def times_panel(panel, columns, rows, bias, addend, addend_stride, out, out_stride):
        arguments = (panel, columns, rows, bias, addend, addend_stride, out, out_stride)
        _emit_tile(quant_type, num_rows, instruction_set, arguments)

    return times_panel


@intrinsic(prefer_literal=True)
def _emit_tile(_context, quant_type, num_rows, instruction_set, arguments):
    """What `write_tile` writes; the first three are literals."""
    kind, isa = QuantType[quant_type.literal_value], INSTRUCTION_SETS[instruction_set.literal_value]

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        e = Emitter(builder, isa)
        write_tile(e, kind, num_rows.literal_value, *cgutils.unpack_tuple(builder, values[3]))
        return context.get_dummy_value()

    return types.void(quant_type, num_rows, instruction_set, arguments), generate


def write_tile(
    e: Emitter,
    quant_type: QuantType,
    num_rows: int,
    panel: ir.Value,
    columns: ir.Value,
    rows: ir.Value,
    bias: ir.Value,
    addend: ir.Value,
    addend_stride: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
) -> None:
    """out[m, 0:16] = panel (16, C) times row m + bias[0:16] + addend[m, 0:16].

    rows : a tile of `num_rows` packed rows, see packed_rows
    `addend` may be `out`.
    """
    totals = [Variable(e, e.floats(0.0)) for _ in range(num_rows)]
    if quant_type in FLOAT_DTYPES:
        _float_products(e, FLOAT_DTYPES[quant_type], panel, columns, rows, totals)
    else:
        _quantised_products(e, PANEL_FORMATS[quant_type], panel, columns, rows, totals)
    biases = e.load(F32x16, bias)
    for m, total in enumerate(totals):
        value = e.add(total.get(), biases)
        value = e.add(value, e.load(F32x16, e.address(addend, e.times(addend_stride, m))))
        e.store(value, e.address(out, e.times(out_stride, m)))


def _float_products(
    e: Emitter,
    dtype: str,
    panel: ir.Value,
    columns: ir.Value,
    rows: ir.Value,
    totals: list[Variable],
) -> None:
    """Unquantised weights: panel is (C, 16) of `dtype`."""
    column_bytes = LANES * (4 if dtype == "f32" else 2)
    with e.loop(columns) as k:
        weights = e.load_floats(dtype, e.address(panel, e.times(k, column_bytes)))
        column = e.address(rows, e.times(k, 4 * len(totals)))
        for m, total in enumerate(totals):
            total.set(e.fma(weights, e.splat_f32(e.address(column, 4 * m)), total.get()))


def _quantised_products(
    e: Emitter,
    form: PanelFormat,
    panel: ir.Value,
    columns: ir.Value,
    rows: ir.Value,
    totals: list[Variable],
) -> None:
    """Quantised weights, unit by unit, a block of 32 columns at a time."""
    units = e.builder.udiv(columns, ir.Constant(columns.type, form.unit_columns))
    block_bytes = BLOCK_BYTES * len(totals)
    with e.loop(units) as u:
        unit = e.address(panel, e.times(u, form.unit_bytes))
        with e.loop(form.blocks) as b:
            at = e.address(rows, e.times(e.builder.add(e.times(u, form.blocks), b), block_bytes))
            _add_block(e, form, unit, b, at, totals)


def _add_block(
    e: Emitter,
    form: PanelFormat,
    unit: ir.Value,
    b: ir.Value,
    rows: ir.Value,
    totals: list[Variable],
) -> None:
    """Add the products of block `b` (32 columns) of a unit to the totals."""

    def word(index: int, m: int) -> ir.Value:
        return e.address(rows, 4 * (index * len(totals) + m))

    planes = e.address(unit, form.planes_at, e.times(b, form.block_bytes))
    for line in range(0, form.block_bytes, _CACHE_LINE):
        e.prefetch(e.address(planes, _PREFETCH_BYTES + line))
    halves = BLOCK_COLUMNS // form.sub_block
    for half in range(halves):
        if half:
            # LLVM would begin the second half beside the first: 33 of 12 rows' vectors then went
            # through memory, and a block of Q6_K took 2.3 instead of 2.0 ns a row.
            e.keep_order()
        dots = [e.ints(0)] * len(totals)
        for group in range(half * GROUPS // halves, (half + 1) * GROUPS // halves):
            weights = _unpack(e, form, planes, group)
            dots = [
                e.dot4(dot, weights, e.splat_bytes4(word(group, m)), largest=form.largest)
                for m, dot in enumerate(dots)
            ]
        scale, minimum = _scales(e, form, unit, b, half)
        sum_word = SUM if halves == 1 else LOW_SUM + half
        for m, (total, dot) in enumerate(zip(totals, dots, strict=True)):
            scaled = e.mul(e.to_float(dot), e.splat_f32(word(SCALE, m)))
            value = e.fma(scaled, scale, total.get())
            if minimum is not None:
                value = e.fma(minimum, e.splat_f32(word(sum_word, m)), value)
            total.set(value)


def _unpack(e: Emitter, form: PanelFormat, planes: ir.Value, group: int) -> ir.Value:
    """The unsigned bytes q of one group of 4 columns: 16 rows x 4."""
    value = None
    shift = start = 0
    for width in form.planes:
        groups_a_vector = 8 // width
        vector = e.load(BYTES, e.address(planes, 64 * (start + group // groups_a_vector)))
        bits = e.bits(vector, start=group % groups_a_vector * width, width=width, to=shift)
        value = bits if value is None else e.or_(value, bits)
        shift += width
        start += width
    assert value is not None
    return value if form.table is None else e.lookup(form.table, value)


def _scales(
    e: Emitter, form: PanelFormat, unit: ir.Value, b: ir.Value, half: int
) -> tuple[ir.Value, ir.Value | None]:
    """Scale and minimum of a sub-block, 16 float32 lanes each."""
    scale = e.load_floats(form.scale_dtype, unit)
    minimum = None
    if form.has_minimum:
        minimum = e.load_floats(form.scale_dtype, e.address(unit, 2 * LANES))
    if form.sub_scale is not None:
        per_block = BLOCK_COLUMNS // form.sub_block
        row = e.times(b, LANES * per_block)
        at = e.address(unit, row, form.sub_scales_at + LANES * half)
        packed = form.sub_scale == "u4"
        scale = e.mul(
            scale,
            e.load_bytes_as_floats(
                at, signed=form.sub_scale == "i8", mask=0x0F if packed else 0xFF
            ),
        )
        if minimum is not None:
            if not packed:
                at = e.address(unit, row, form.sub_minimums_at + LANES * half)
            sub_minimum = e.load_bytes_as_floats(at, signed=False, shift=4 if packed else 0)
            minimum = e.mul(minimum, e.builder.fneg(sub_minimum))
    if form.offset:
        minimum = e.mul(scale, e.floats(-float(form.offset)))
    return scale, minimum
