"""The kernels of `repack`, one for each quantisation."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    address_of,
    array_at,
    bytes_at,
    record_at,
    stack_space,
)
from slipstream.cpu_kernels.compiled.kernels.compile import kernel
from slipstream.cpu_kernels.compiled.kernels.unpack_block import unpack_block
from slipstream.cpu_kernels.compiled.kernels.work_sharing import item_function, run_items
from slipstream.cpu_kernels.compiled.panel_format import (
    BLOCK_COLUMNS,
    FLOAT_DTYPES,
    GROUPS,
    PANEL_FORMATS,
    PANEL_ROWS,
)
from slipstream.cpu_kernels.compiled.records import REPACK
from slipstream.cpu_kernels.quant_types import QuantType

fours_at, halves_at = array_at(np.uint32), array_at(np.uint16)
_record_at = record_at(REPACK)


def repack(quant_type: str) -> Any:
    """The kernel for a quantisation."""
    kind = QuantType[quant_type]
    if kind in FLOAT_DTYPES:
        fill_panel = _float_filler(kind.block_bytes)
    else:
        fill_panel = _quantised_filler(kind)

    @kernel()
    def fill(item, record):
        r = _record_at(record)
        raw = bytes_at(r.raw, (r.rows, r.row_bytes))
        first = item * r.panels_an_item
        for p in range(first, min(first + r.panels_an_item, r.num_panels)):
            panel = bytes_at(r.panels + p * r.panel_bytes, (r.panel_bytes,))
            fill_panel(raw[PANEL_ROWS * p : min(PANEL_ROWS * (p + 1), r.rows)], panel)

    @kernel()
    def repack_all(state, record):
        r = _record_at(record)
        run_items(state, item_function(fill), record, -(-r.num_panels // r.panels_an_item))

    return repack_all


def _float_filler(item_bytes: int) -> Any:
    @kernel()
    def fill_panel(rows, panel):
        for r in range(rows.shape[0]):
            for k in range(rows.shape[1] // item_bytes):
                for byte in range(item_bytes):
                    panel[(k * PANEL_ROWS + r) * item_bytes + byte] = rows[r, k * item_bytes + byte]

    return fill_panel


def _quantised_filler(quant_type: QuantType) -> Any:
    form = PANEL_FORMATS[quant_type]
    name, block_bytes = quant_type.name, quant_type.block_bytes
    unit_columns, unit_bytes = form.unit_columns, form.unit_bytes
    num_scales, num_subs, sub_rows = 1 + form.has_minimum, form.num_sub_blocks, form.num_sub_rows
    subs_at, planes_at, plane_bytes = form.sub_scales_at, form.planes_at, form.block_bytes
    # One constant each, so that the loops over a plane's bits unroll; 0 where there is no second.
    low_width, high_width = (*form.planes, 0)[:2]

    @kernel()
    def fill_panel(rows, panel):
        space = stack_space(unit_columns)
        q, fours = bytes_at(space, (unit_columns,)), fours_at(space, (unit_columns // 4,))
        scales, subs = halves_at(stack_space(4), (2,)), bytes_at(stack_space(32), (2, 16))
        words = fours_at(address_of(panel), (panel.shape[0] // 4,))
        halves = halves_at(address_of(panel), (panel.shape[0] // 2,))
        for r in range(rows.shape[0]):
            for u in range(rows.shape[1] // block_bytes):
                unpack_block(name, rows[r], u * block_bytes, q, scales, subs)
                unit = u * unit_bytes
                for i in range(num_scales):
                    halves[unit // 2 + i * PANEL_ROWS + r] = scales[i]
                for i in range(sub_rows):
                    for j in range(num_subs):
                        panel[unit + subs_at + (i * num_subs + j) * PANEL_ROWS + r] = subs[i, j]
                for block in range(unit_columns // BLOCK_COLUMNS):
                    at = (unit + planes_at + block * plane_bytes) // 4 + r
                    _place_plane(words, at, fours, block, 0, low_width)
                    if high_width:
                        at += low_width * PANEL_ROWS
                        _place_plane(words, at, fours, block, low_width, high_width)

    return fill_panel


@kernel()
def _place_plane(words, at, fours, block, shift, width):
    """Put `width` bits from bit `shift` of a block's 32 columns into their plane, 4 at a time."""
    groups = 8 // width
    mask = np.uint32(((1 << width) - 1) * 0x01010101)
    for v in range(GROUPS // groups):
        word = np.uint32(0)
        for g in range(groups):
            bits = (fours[block * GROUPS + v * groups + g] >> np.uint32(shift)) & mask
            word |= bits << np.uint32(g * width)
        words[at + PANEL_ROWS * v] = word
