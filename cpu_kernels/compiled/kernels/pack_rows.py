"""Packs activations: norms them or opens their gates, rounds them to int8, interleaves them."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.addresses import (
    address_of,
    floats_at,
    record_at,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.gated_row import gated_row
from slipstream.cpu_kernels.compiled.kernels.norm_row import norm_row
from slipstream.cpu_kernels.compiled.kernels.scratch import borrow
from slipstream.cpu_kernels.compiled.kernels.vector import F32, I8, I32, LANES, Emitter, F32x16
from slipstream.cpu_kernels.compiled.packed_rows import (
    BLOCK_BYTES,
    BLOCK_WORDS,
    FLOAT,
    HIGH_SUM,
    LOW_SUM,
    QUANTISED,
    SCALE,
    SUM,
    TILE_ROWS,
)
from slipstream.cpu_kernels.compiled.records import MATMUL
from slipstream.cpu_kernels.panel_format import BLOCK_COLUMNS
from slipstream.cpu_kernels.row_source import AS_IS, GELU, NORM, SILU

_matmul_at = record_at(MATMUL)


@kernel()
def tile_of(t: int, num_rows: int) -> tuple[int, int]:
    """(first row, index into TILE_ROWS) of tile t of `num_rows` rows: the largest come first."""
    first = 0
    for size in range(len(TILE_ROWS)):
        count = (num_rows - first) // TILE_ROWS[size]
        if t < count:
            return first + t * TILE_ROWS[size], size
        t -= count
        first += count * TILE_ROWS[size]
    return num_rows, 0


@kernel()
def num_tiles(num_rows: int) -> int:
    """How many tiles `num_rows` rows make."""
    tiles = 0
    for size in range(len(TILE_ROWS)):
        tiles += num_rows // TILE_ROWS[size]
        num_rows %= TILE_ROWS[size]
    return tiles


@kernel()
def packed_form(r: Any, form: Any) -> tuple[int, int]:
    """(address, bytes a row) of a matmul's rows in one form; the quantised one comes first."""
    quantised_bytes = r.columns // BLOCK_COLUMNS * BLOCK_BYTES
    if form == QUANTISED:
        return r.packed, quantised_bytes
    before = r.num_rows * quantised_bytes if r.forms & QUANTISED else 0
    return r.packed + before, 4 * r.columns


@kernel()
def pack_tile(t: Any, record: Any, scratch: Any) -> None:
    """Pack tile t of the rows that a matmul's source makes of its x.

    NaN or infinity makes the block's scale NaN or infinite, so it shows in every product.
    """
    r = _matmul_at(record)
    columns, blocks = r.columns, r.columns // BLOCK_COLUMNS
    width = 2 * columns if r.source >= SILU else columns
    first, size = tile_of(t, r.num_rows)
    quantised_at, quantised_bytes = packed_form(r, QUANTISED)
    floats_from, float_bytes = packed_form(r, FLOAT)
    tile = floats_at(floats_from + first * float_bytes, (columns, TILE_ROWS[size]))
    space = borrow(scratch, 4 * columns) if r.source != AS_IS else 0
    for i in range(TILE_ROWS[size]):
        row = floats_at(r.x + 4 * (first + i) * width, (width,))
        if r.source != AS_IS:
            made = floats_at(space, (columns,))
            if r.source == NORM:
                norm_row(row, floats_at(r.norm_weight, (columns,)), r.eps, made)
            else:
                gated_row(row[:columns], row[columns:], r.source == GELU, made)
            row = made
        if r.forms & QUANTISED:
            at = quantised_at + first * quantised_bytes + 4 * i
            quantize_row(address_of(row), blocks, at, 4 * TILE_ROWS[size])
        if r.forms & FLOAT:
            for c in range(columns):
                tile[c, i] = row[c]


@intrinsic
def quantize_row(_context, x, num_blocks, at, stride):
    """q = round(x / scale), scale = max|x| / 127, for each 32 columns of a row.

    x      : address of (32 num_blocks,) float32
    at     : address of the row's first word
    stride : bytes between the words of a row
    """

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        x, num_blocks, at, stride = values
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        with e.loop(num_blocks) as b:
            block = e.address(at, builder.mul(e.times(b, BLOCK_WORDS), stride))
            _quantize_block(e, e.address(x, e.times(b, 4 * BLOCK_COLUMNS)), block, stride)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _quantize_block(e: Emitter, x: ir.Value, block: ir.Value, stride: ir.Value) -> None:
    halves = [e.load(F32x16, x), e.load(F32x16, e.address(x, 4 * LANES))]
    largest = e.highest(e.max_int(*(e.magnitude_bits(half) for half in halves)))
    largest = e.builder.bitcast(largest, F32)
    inverse = e.builder.fdiv(ir.Constant(F32, 127.0), largest)
    positive = e.builder.fcmp_ordered(">", largest, ir.Constant(F32, 0.0))
    inverse = e.splat(e.builder.select(positive, inverse, ir.Constant(F32, 0.0)))
    scale = e.builder.fdiv(largest, ir.Constant(F32, 127.0))
    sums = []
    for h, half in enumerate(halves):
        quants = e.round_to_int(e.mul(half, inverse))
        sums.append(e.total(quants))
        words = e.builder.bitcast(
            e.builder.trunc(quants, ir.VectorType(I8, LANES)), ir.VectorType(I32, 4)
        )
        for word in range(4):
            value = e.builder.extract_element(words, ir.Constant(I32, word))
            e.store(value, e.address(block, e.times(stride, 4 * h + word)))
    fields = {SCALE: scale}
    for word, total in (
        (LOW_SUM, sums[0]),
        (HIGH_SUM, sums[1]),
        (SUM, e.builder.add(sums[0], sums[1])),
    ):
        fields[word] = e.builder.fmul(scale, e.builder.sitofp(total, F32))
    for word, value in fields.items():
        e.store(value, e.address(block, e.times(stride, word)))
