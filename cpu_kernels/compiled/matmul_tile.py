"""The matrix product's inner loop: one panel of 16 weight rows times 1, 2, 4 or 8 activation rows.

The panel's bits are unpacked once for all activation rows. A row's sum is built in the same order
whatever the other rows are, so its result does not depend on how many rows a step has.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.panel_format import (
    BLOCK_COLUMNS,
    FLOAT_DTYPES,
    GROUPS,
    PANEL_FORMATS,
    PanelFormat,
)
from slipstream.cpu_kernels.compiled.vector import BYTES, LANES, Emitter, Variable
from slipstream.cpu_kernels.quant_types import QuantType

TILE_ROWS = (8, 4, 2, 1)
SCALE_RECORD_BYTES = 16  # float32: scale, scale * sum of first 16, of last 16, of all 32

# panel, columns, x, x row stride, scale records, their row stride, out, out row stride: addresses
# and byte strides, all 64-bit.
TILE_SIGNATURE = types.void(*[types.uint64] * 8)


@intrinsic(prefer_literal=True)
def emit_tile(
    _context,
    quant_type,
    rows,
    instruction_set,
    panel,
    columns,
    x,
    x_stride,
    scales,
    scales_stride,
    out,
    out_stride,
):
    """out[m, 0:16] = panel (16, C) times x[m, 0:C] for m < rows; the first three are literals."""
    name, num_rows = quant_type.literal_value, rows.literal_value
    isa = INSTRUCTION_SETS[instruction_set.literal_value]

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        emitter = Emitter(builder, isa)
        kind = QuantType[name]
        if kind in FLOAT_DTYPES:
            _float_tile(emitter, FLOAT_DTYPES[kind], num_rows, *values[3:])
        else:
            _quantized_tile(emitter, PANEL_FORMATS[kind], num_rows, *values[3:])
        return context.get_dummy_value()

    return types.void(quant_type, rows, instruction_set, *TILE_SIGNATURE.args), generate


def _rows(e: Emitter, base: ir.Value, stride: ir.Value, count: int) -> list[ir.Value]:
    """Addresses of `count` rows."""
    return [e.address(base, e.times(stride, m)) for m in range(count)]


def _float_tile(
    e: Emitter,
    dtype: str,
    num_rows: int,
    panel: ir.Value,
    columns: ir.Value,
    x: ir.Value,
    x_stride: ir.Value,
    _scales: ir.Value,
    _scales_stride: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
) -> None:
    """Unquantised weights: panel is (C, 16) of `dtype`, x is float32."""
    totals = [Variable(e, e.floats(0.0)) for _ in range(num_rows)]
    x_rows = _rows(e, x, x_stride, num_rows)
    column_bytes = LANES * (4 if dtype == "f32" else 2)
    with e.loop(columns) as k:
        weights = e.load_floats(dtype, e.address(panel, e.times(k, column_bytes)))
        for total, row in zip(totals, x_rows, strict=True):
            value = e.splat_f32(e.address(row, e.times(k, 4)))
            total.set(e.fma(weights, value, total.get()))
    for total, row in zip(totals, _rows(e, out, out_stride, num_rows), strict=True):
        e.store(total.get(), row)


def _quantized_tile(
    e: Emitter,
    form: PanelFormat,
    num_rows: int,
    panel: ir.Value,
    columns: ir.Value,
    x: ir.Value,
    x_stride: ir.Value,
    scales: ir.Value,
    scales_stride: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
) -> None:
    """Quantised weights: x is int8 with a scale record for each 32 columns."""
    totals = [Variable(e, e.floats(0.0)) for _ in range(num_rows)]
    x_rows = _rows(e, x, x_stride, num_rows)
    scale_rows = _rows(e, scales, scales_stride, num_rows)
    units = e.builder.udiv(columns, ir.Constant(columns.type, form.unit_columns))
    with e.loop(units) as u:
        unit = e.address(panel, e.times(u, form.unit_bytes))
        with e.loop(form.blocks) as b:
            block = e.builder.add(e.times(u, form.blocks), b)
            _block(
                e,
                form,
                unit,
                b,
                [e.address(row, e.times(block, BLOCK_COLUMNS)) for row in x_rows],
                [e.address(row, e.times(block, SCALE_RECORD_BYTES)) for row in scale_rows],
                totals,
            )
    for total, row in zip(totals, _rows(e, out, out_stride, num_rows), strict=True):
        e.store(total.get(), row)


def _block(
    e: Emitter,
    form: PanelFormat,
    unit: ir.Value,
    b: ir.Value,
    x_rows: list[ir.Value],
    records: list[ir.Value],
    totals: list[Variable],
) -> None:
    """Add the products of block `b` (32 columns) of a unit to the totals."""
    planes = e.address(unit, form.planes_at, e.times(b, form.block_bytes))
    halves = BLOCK_COLUMNS // form.sub_block
    for half in range(halves):
        dots = [e.ints(0)] * len(totals)
        for group in range(half * GROUPS // halves, (half + 1) * GROUPS // halves):
            weights = _unpack(e, form, planes, group)
            dots = [
                e.dot4(dot, weights, e.splat_bytes4(e.address(row, 4 * group)))
                for dot, row in zip(dots, x_rows, strict=True)
            ]
        scale, minimum = _scales(e, form, unit, b, half)
        sum_at = 4 * (3 if halves == 1 else 1 + half)
        for total, dot, record in zip(totals, dots, records, strict=True):
            scaled = e.mul(e.to_float(dot), e.splat_f32(record))
            value = e.fma(scaled, scale, total.get())
            if minimum is not None:
                value = e.fma(minimum, e.splat_f32(e.address(record, sum_at)), value)
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
