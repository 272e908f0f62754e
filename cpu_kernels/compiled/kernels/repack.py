"""The kernels of `repack`, one for each quantisation."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.addresses import record_at
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.file_blocks import READERS, Rows, Unit
from slipstream.cpu_kernels.compiled.kernels.vector import BYTES, I8, I16, I64, LANES, Emitter
from slipstream.cpu_kernels.compiled.kernels.work_sharing import item_function, run_items
from slipstream.cpu_kernels.compiled.records import REPACK
from slipstream.cpu_kernels.panel_format import (
    FLOAT_DTYPES,
    GROUPS,
    PANEL_FORMATS,
    PANEL_ROWS,
    PanelFormat,
)
from slipstream.cpu_kernels.quant_types import QuantType

_record_at = record_at(REPACK)


def repack(quant_type: str) -> Any:
    """The kernel for a quantisation."""

    @kernel()
    def fill(item, record, _scratch):
        r = _record_at(record)
        first = item * r.panels_an_item
        for p in range(first, min(first + r.panels_an_item, r.num_panels)):
            rows_at = r.raw + p * PANEL_ROWS * r.row_bytes
            _emit_panel(quant_type, rows_at, r.row_bytes, r.panels + p * r.panel_bytes)

    @kernel()
    def repack_all(state, record):
        r = _record_at(record)
        run_items(state, item_function(fill), record, -(-r.num_panels // r.panels_an_item))

    return repack_all


@intrinsic(prefer_literal=True)
def _emit_panel(_context, quant_type, rows, row_bytes, panel):
    """Fill the panel at an address from the 16 rows at another; `quant_type` is a literal."""
    kind = QuantType[quant_type.literal_value]

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        _, rows, row_bytes, panel = values
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        with e.loop(builder.udiv(row_bytes, ir.Constant(I64, kind.block_bytes))) as u:
            block = e.address(rows, e.times(u, kind.block_bytes))
            if kind in FLOAT_DTYPES:
                column = e.address(panel, e.times(u, PANEL_ROWS * kind.block_bytes))
                _place_column(e, kind, block, row_bytes, column)
            else:
                form = PANEL_FORMATS[kind]
                unit = READERS[kind](Rows(e, block, row_bytes))
                _place_unit(e, form, unit, e.address(panel, e.times(u, form.unit_bytes)))
        return context.get_dummy_value()

    return types.void(quant_type, *[types.int64] * 3), generate


def _place_column(
    e: Emitter, kind: QuantType, numbers: ir.Value, row_bytes: ir.Value, at: ir.Value
) -> None:
    """The numbers of a column one after another, as they are."""
    for r in range(PANEL_ROWS):
        number = e.load(ir.IntType(8 * kind.block_bytes), e.address(numbers, e.times(row_bytes, r)))
        e.store(number, e.address(at, r * kind.block_bytes))


def _place_unit(e: Emitter, form: PanelFormat, unit: Unit, at: ir.Value) -> None:
    """Where each part goes: see panel_format."""

    def place(values: Any, item: ir.IntType, first: int, stride: int) -> None:
        for i, value in enumerate(values):
            narrow = e.builder.trunc(value, ir.VectorType(item, LANES))
            e.store(narrow, e.address(at, first + i * stride))

    numbers = [unit.scale] if unit.minimum is None else [unit.scale, unit.minimum]
    place(numbers, I16, 0, form.minimums_at)
    place(unit.scales, I8, form.sub_scales_at, PANEL_ROWS)
    place(unit.minimums, I8, form.sub_minimums_at, PANEL_ROWS)
    for block in range(form.blocks):
        codes = unit.codes[GROUPS * block : GROUPS * (block + 1)]
        plane_at, shift = form.planes_at + block * form.block_bytes, 0
        for width in form.planes:
            groups = 8 // width
            for v in range(GROUPS // groups):
                word = ir.Constant(BYTES, [0] * 64)
                for g, code in enumerate(codes[v * groups : (v + 1) * groups]):
                    code = e.builder.bitcast(code, BYTES)
                    word = e.or_(word, e.bits(code, start=shift, width=width, to=g * width))
                e.store(word, e.address(at, plane_at + 64 * v))
            plane_at += 64 * width
            shift += width
