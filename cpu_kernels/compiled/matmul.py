"""Matrix product of activations with a packed weight, on all threads."""

import threading

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.addresses import (
    address_of,
    aligned_empty,
    load_f32,
    stack_space,
)
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.matmul_tile import TILE_ARGUMENTS, TILE_SIGNATURE
from slipstream.cpu_kernels.compiled.packed_rows import (
    AS_IS,
    BLOCK_BYTES,
    GELU,
    NORM,
    QUANTISED,
    SILU,
    TILE_ROWS,
    num_tiles,
    pack_tile,
    packed_bytes,
    tile_of,
)
from slipstream.cpu_kernels.compiled.panel_format import BLOCK_COLUMNS, PANEL_ROWS
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.weight import (
    FIRST_ROW,
    FORM,
    NUM_PANELS,
    PANEL_BYTES,
    PANELS,
    ROWS,
    TILES,
    Weight,
)
from slipstream.cpu_kernels.compiled.work_sharing import outline, run_items
from slipstream.cpu_kernels.errors import expect_float32
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.reference.matmul import check_source

_NOTHING = np.empty(0, np.float32)
_ZEROS = np.zeros(PANEL_ROWS, np.float32)
_SOURCES = {"silu": SILU, "gelu": GELU}
_ROW_BLOCK_BYTES = 256 << 10  # packed rows that stay in a core's cache while panels pass by
_PANEL_GROUP_BYTES = 128 << 10  # panels that stay there while tiles of rows pass by
_LEAST_ITEM_BYTES = 32 << 10  # of weights: a microsecond, several times what taking an item costs
_ITEMS_A_THREAD = 64
_FEWEST_SHARED_ROWS = 4  # packing fewer is less work than sharing it
_TILE_BYTES = 4 * PANEL_ROWS * TILE_ROWS[0]
_scratch = threading.local()


def matmul(
    x: np.ndarray,
    weight: Weight,
    *,
    norm: RmsNorm | None = None,
    activation: str | None = None,
    bias: np.ndarray | None = None,
    accumulate: bool = False,
    out: np.ndarray,
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.matmul`.

    Quantised weights meet activations rounded to int8, 32 columns a scale. Row m of the result is
    bit-identical whatever M is.
    """
    check_source(norm, activation)
    num_rows, columns = x.shape[0], weight.columns
    expect_float32("x", x, (num_rows, 2 * columns if activation else columns))
    expect_float32("out", out, (num_rows, weight.rows))
    source, norm_weight, eps = AS_IS, _NOTHING, 0.0
    if norm is not None:
        expect_float32("norm", norm.weight, (columns,))
        source, norm_weight, eps = NORM, norm.weight, norm.eps
    if activation is not None:
        source = _SOURCES[activation]
    if bias is not None:
        expect_float32("bias", bias, (weight.rows,))
    POOL.run(
        _matmul,
        weight.table,
        columns,
        weight.forms,
        x,
        source,
        norm_weight,
        eps,
        _packed(packed_bytes(num_rows, columns, weight.forms)),
        _NOTHING if bias is None else bias,
        _ZEROS,
        accumulate,
        out,
        POOL.num_threads,
    )
    return out


def _packed(num_bytes: int) -> np.ndarray:
    """A thread's own scratch array, kept between calls."""
    held = getattr(_scratch, "packed", None)
    if held is None or held.size < num_bytes:
        held = _scratch.packed = aligned_empty(num_bytes)
    return held


@intrinsic
def _call_tile(
    _context,
    address,
    panel,
    columns,
    rows,
    bias,
    addend,
    addend_stride,
    out,
    out_stride,
):
    """Call the tile kernel at an address."""

    def generate(context, builder, _signature, values):
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * TILE_ARGUMENTS)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *TILE_SIGNATURE.args), generate


@kernel()
def _matmul(
    state,
    table,
    columns,
    forms,
    x,
    source,
    norm_weight,
    eps,
    packed,
    bias,
    zeros,
    accumulate,
    out,
    num_threads,
):
    tiles = num_tiles(x.shape[0])
    if x.shape[0] < _FEWEST_SHARED_ROWS:
        for t in range(tiles):
            pack_tile(t, x, source, norm_weight, eps, forms, packed)
    else:
        arguments = (x, source, norm_weight, eps, forms, packed)
        run_items(state, outline(pack_tile, arguments), tiles)
    row_bytes = columns // BLOCK_COLUMNS * BLOCK_BYTES if forms & QUANTISED else 4 * columns
    tiles_a_block = max(1, _ROW_BLOCK_BYTES // (TILE_ROWS[0] * row_bytes))
    row_blocks = -(-tiles // tiles_a_block)
    num_items = 0
    for part in range(table.shape[0]):
        num_items += _num_chunks(table[part], num_threads) * row_blocks
    arguments = (
        table,
        num_threads,
        columns,
        forms,
        tiles,
        tiles_a_block,
        packed,
        bias,
        zeros,
        accumulate,
        out,
    )
    run_items(state, outline(_item, arguments), num_items)


@kernel()
def _panels_an_item(part, num_threads):
    """Few enough that a slow or busy core can get fewer items, enough that an item is worth it."""
    least = -(-_LEAST_ITEM_BYTES // part[PANEL_BYTES])
    return max(least, -(-part[NUM_PANELS] // (num_threads * _ITEMS_A_THREAD)))


@kernel()
def _num_chunks(part, num_threads):
    return -(-part[NUM_PANELS] // _panels_an_item(part, num_threads))


@kernel()
def _item(
    item,
    table,
    num_threads,
    columns,
    forms,
    tiles,
    tiles_a_block,
    packed,
    bias,
    zeros,
    accumulate,
    out,
):
    """Some panels of one part times one block of rows; items of the same panels follow."""
    row_blocks = -(-tiles // tiles_a_block)
    p = 0
    while item >= _num_chunks(table[p], num_threads) * row_blocks:
        item -= _num_chunks(table[p], num_threads) * row_blocks
        p += 1
    part, chunk = table[p], _panels_an_item(table[p], num_threads)
    first_panel = item // row_blocks * chunk
    first_tile = item % row_blocks * tiles_a_block
    end_tile = min(first_tile + tiles_a_block, tiles)
    num_rows = out.shape[0]
    quantised_bytes = columns // BLOCK_COLUMNS * BLOCK_BYTES
    rows_at, row_bytes = address_of(packed), quantised_bytes
    if part[FORM] != QUANTISED:
        row_bytes = 4 * columns
        if forms & QUANTISED:
            rows_at += np.uint64(num_rows * quantised_bytes)
    end_panel = min(first_panel + chunk, part[NUM_PANELS])
    group = max(1, _PANEL_GROUP_BYTES // part[PANEL_BYTES])
    for first in range(first_panel, end_panel, group):
        for t in range(first_tile, end_tile):
            first_row, size = tile_of(t, num_rows)
            at = rows_at + np.uint64(first_row * row_bytes)
            for panel in range(first, min(first + group, end_panel)):
                _panel_times_tile(
                    part, panel, size, columns, at, first_row, bias, zeros, accumulate, out
                )


@kernel()
def _panel_times_tile(part, panel, size, columns, rows_at, first_row, bias, zeros, accumulate, out):
    """The 16 columns of `out` that a panel makes, for the rows of a tile."""
    panel_at = np.uint64(part[PANELS] + panel * part[PANEL_BYTES])
    n, width = part[FIRST_ROW] + PANEL_ROWS * panel, part[ROWS] - PANEL_ROWS * panel
    zeros_at, out_stride = address_of(zeros), np.uint64(4 * out.shape[1])
    out_at = address_of(out) + np.uint64(first_row) * out_stride + np.uint64(4 * n)
    if width >= PANEL_ROWS:
        _call_tile(
            part[TILES + size],
            panel_at,
            np.uint64(columns),
            rows_at,
            address_of(bias) + np.uint64(4 * n) if bias.size else zeros_at,
            out_at if accumulate else zeros_at,
            out_stride if accumulate else np.uint64(0),
            out_at,
            out_stride,
        )
        return
    stride = np.uint64(4 * PANEL_ROWS)
    space = stack_space(_TILE_BYTES)
    _call_tile(
        part[TILES + size],
        panel_at,
        np.uint64(columns),
        rows_at,
        zeros_at,
        zeros_at,
        np.uint64(0),
        space,
        stride,
    )
    for i in range(TILE_ROWS[size]):
        for j in range(width):
            value = load_f32(space + np.uint64(i) * stride + np.uint64(4 * j))
            if bias.size:
                value += bias[n + j]
            if accumulate:
                value += out[first_row + i, n + j]
            out[first_row + i, n + j] = value
