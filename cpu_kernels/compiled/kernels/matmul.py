"""The kernel of `matmul`: rows are packed, then every panel meets every tile of rows."""

from typing import Any

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    floats_at,
    load_f32,
    record_at,
    stack_space,
    words_at,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.pack_rows import (
    num_tiles,
    pack_tile,
    packed_form,
    tile_of,
)
from slipstream.cpu_kernels.compiled.kernels.work_sharing import (
    call_address,
    item_function,
    run_items,
)
from slipstream.cpu_kernels.compiled.packed_rows import FLOAT, QUANTISED, TILE_ROWS
from slipstream.cpu_kernels.compiled.records import MATMUL
from slipstream.cpu_kernels.compiled.weight import (
    FIRST_ROW,
    FORM,
    NUM_PANELS,
    PANEL_BYTES,
    PANELS,
    PART_WORDS,
    ROWS,
    TILES,
)
from slipstream.cpu_kernels.compiled.worker_state import SCRATCH
from slipstream.cpu_kernels.panel_format import PANEL_ROWS

_ROW_BLOCK_BYTES = 256 << 10  # packed rows that stay in a core's cache while panels pass by
_PANEL_GROUP_BYTES = 128 << 10  # panels that stay there while tiles of rows pass by
_LEAST_ITEM_BYTES = 32 << 10  # of weights: a microsecond, several times what taking an item costs
_ITEMS_A_THREAD = 64
_FEWEST_SHARED_ROWS = 4  # packing fewer is less work than sharing it
_ROW_BYTES = 4 * PANEL_ROWS  # of what a panel and a row make
_TILE_BYTES = _ROW_BYTES * TILE_ROWS[0]
_record_at = record_at(MATMUL)


@kernel()
def matmul(state: Any, record: Any) -> None:
    """Items are some panels of one part times one block of rows."""
    r = _record_at(record)
    tiles = num_tiles(r.num_rows)
    if r.num_rows < _FEWEST_SHARED_ROWS:
        for t in range(tiles):
            pack_tile(t, record, state + SCRATCH)
    else:
        run_items(state, item_function(pack_tile), record, tiles)
    parts = words_at(r.parts, (r.num_parts, PART_WORDS))
    row_blocks = _num_row_blocks(r)
    num_items = 0
    for p in range(r.num_parts):
        num_items += _num_chunks(parts[p], r.num_threads) * row_blocks
    run_items(state, item_function(_panels_times_rows), record, num_items)


@kernel()
def _num_row_blocks(r):
    return -(-num_tiles(r.num_rows) // _tiles_a_block(r))


@kernel()
def _tiles_a_block(r):
    _at, row_bytes = packed_form(r, QUANTISED if r.forms & QUANTISED else FLOAT)
    return max(1, _ROW_BLOCK_BYTES // (TILE_ROWS[0] * row_bytes))


@kernel()
def _panels_an_item(part, num_threads):
    """Few enough that a slow or busy core can get fewer items, enough that an item is worth it."""
    least = -(-_LEAST_ITEM_BYTES // part[PANEL_BYTES])
    return max(least, -(-part[NUM_PANELS] // (num_threads * _ITEMS_A_THREAD)))


@kernel()
def _num_chunks(part, num_threads):
    return -(-part[NUM_PANELS] // _panels_an_item(part, num_threads))


@kernel()
def _panels_times_rows(item, record, _scratch):
    """Items of the same panels follow one another, so that the panels stay in the cache."""
    r = _record_at(record)
    parts = words_at(r.parts, (r.num_parts, PART_WORDS))
    row_blocks = _num_row_blocks(r)
    p = 0
    while item >= _num_chunks(parts[p], r.num_threads) * row_blocks:
        item -= _num_chunks(parts[p], r.num_threads) * row_blocks
        p += 1
    part, chunk = parts[p], _panels_an_item(parts[p], r.num_threads)
    first_panel = item // row_blocks * chunk
    end_panel = min(first_panel + chunk, part[NUM_PANELS])
    first_tile = item % row_blocks * _tiles_a_block(r)
    end_tile = min(first_tile + _tiles_a_block(r), num_tiles(r.num_rows))
    rows_at, row_bytes = packed_form(r, part[FORM])
    group = max(1, _PANEL_GROUP_BYTES // part[PANEL_BYTES])
    for first in range(first_panel, end_panel, group):
        for t in range(first_tile, end_tile):
            first_row, size = tile_of(t, r.num_rows)
            tile_at = rows_at + first_row * row_bytes
            for panel in range(first, min(first + group, end_panel)):
                _panel_times_tile(record, part, panel, first_row, size, tile_at)


@kernel()
def _panel_times_tile(record, part, panel, first_row, size, tile_at):
    """The 16 columns of `out` that a panel makes, for the rows of a tile."""
    r = _record_at(record)
    panel_at = part[PANELS] + panel * part[PANEL_BYTES]
    n, width = part[FIRST_ROW] + PANEL_ROWS * panel, part[ROWS] - PANEL_ROWS * panel
    out_stride = 4 * r.out_columns
    out_at = r.out + first_row * out_stride + 4 * n
    bias_at = r.bias + 4 * n if r.bias else r.zeros
    kernel_at = part[TILES + size]
    if width >= PANEL_ROWS:
        before_at, before_stride = (out_at, out_stride) if r.accumulate else (r.zeros, 0)
        where = (bias_at, before_at, before_stride, out_at, out_stride)
        call_address(kernel_at, (panel_at, r.columns, tile_at, *where))
        return
    space = stack_space(_TILE_BYTES)
    where = (r.zeros, r.zeros, 0, space, _ROW_BYTES)
    call_address(kernel_at, (panel_at, r.columns, tile_at, *where))
    out = floats_at(r.out, (r.num_rows, r.out_columns))
    for i in range(TILE_ROWS[size]):
        for j in range(width):
            value = load_f32(space + i * _ROW_BYTES + 4 * j)
            if r.bias:
                value += load_f32(bias_at + 4 * j)
            if r.accumulate:
                value += out[first_row + i, n + j]
            out[first_row + i, n + j] = value
