"""Activations as the tile kernels read them.

A step's M rows are cut into tiles of 12, 8, 4, 2 and 1. The rows of a tile of T lie interleaved, so
that a kernel walks them with one pointer. For weights that are quantised, each block of 32 columns
is 12 x T words of 4 bytes:

    int8    [8][T][4]  the activations, 4 columns a word
    float32 [4][T]     scale, scale * sum of the first 16 of them, of the last 16, of all

For weights that are not, it is float32 [C][T]. A tile that begins with row m lies m rows' bytes
from the start, whatever the sizes of the tiles before it.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.addresses import address_of
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.gated_activation import gated_row
from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.panel_format import BLOCK_COLUMNS, GROUPS
from slipstream.cpu_kernels.compiled.rms_norm import norm_row
from slipstream.cpu_kernels.compiled.vector import F32, I8, I32, LANES, Emitter, F32x16

TILE_ROWS = (12, 8, 4, 2, 1)
SCALE, LOW_SUM, HIGH_SUM, SUM = range(GROUPS, GROUPS + 4)  # words of a block
BLOCK_WORDS = SUM + 1
BLOCK_BYTES = 4 * BLOCK_WORDS  # of one row

AS_IS, NORM, SILU, GELU = range(4)  # what is done to rows before they are packed
QUANTISED, FLOAT = 1, 2  # bits: which forms are made


def packed_bytes(num_rows: int, columns: int, forms: int) -> int:
    """Bytes of both forms of `num_rows` rows, the quantised one first."""
    quantised = columns // BLOCK_COLUMNS * BLOCK_BYTES if forms & QUANTISED else 0
    return num_rows * (quantised + (4 * columns if forms & FLOAT else 0))


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
def pack_tile(
    t: Any, x: Any, source: Any, norm_weight: Any, eps: Any, forms: Any, packed: Any
) -> None:
    """Pack tile t of the rows that `source` makes of x.

    x      : (M, C) float32; (M, 2 C) for SILU and GELU: gates, then what they open
    packed : (packed_bytes(M, C, forms),) uint8, written
    NaN or infinity makes the block's scale NaN or infinite, so it shows in every product.
    """
    num_rows = x.shape[0]
    columns = x.shape[1] // 2 if source >= SILU else x.shape[1]
    blocks = columns // BLOCK_COLUMNS
    first, size = tile_of(t, num_rows)
    floats_at = num_rows * blocks * BLOCK_BYTES if forms & QUANTISED else 0
    floats = packed[floats_at:].view(np.float32)
    made = np.empty(columns if source != AS_IS else 0, np.float32)
    for i in range(TILE_ROWS[size]):
        row = x[first + i]
        if source == NORM:
            norm_row(row, norm_weight, eps, made)
            row = made
        elif source != AS_IS:
            gated_row(row[:columns], row[columns:], source == GELU, made)
            row = made
        if forms & QUANTISED:
            at = address_of(packed) + np.uint64(first * blocks * BLOCK_BYTES + 4 * i)
            quantize_row(address_of(row), np.uint64(blocks), at, np.uint64(4 * TILE_ROWS[size]))
        if forms & FLOAT:
            for c in range(columns):
                floats[first * columns + c * TILE_ROWS[size] + i] = row[c]
    if made.size:
        made[0] = 0.0  # known to quantize_row by address only: alive until here


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

    return types.void(*[types.uint64] * 4), generate


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
