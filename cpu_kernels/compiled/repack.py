"""Turns the rows of a file's matrix into panels, in parallel, once at load."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable

from slipstream.cpu_kernels.compiled.addresses import aligned_empty
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.panel_format import (
    BLOCK_COLUMNS,
    FLOAT_DTYPES,
    GROUPS,
    PANEL_FORMATS,
    PANEL_ROWS,
)
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.unpack_block import unpack_block
from slipstream.cpu_kernels.quant_types import QuantType

_BYTES_A_TURN = 1 << 20  # about a millisecond: far more than handing it to a thread costs


def panel_bytes(quant_type: QuantType, columns: int) -> int:
    """Bytes of one panel of 16 rows."""
    if quant_type in FLOAT_DTYPES:
        return PANEL_ROWS * quant_type.row_bytes(columns)
    form = PANEL_FORMATS[quant_type]
    return columns // form.unit_columns * form.unit_bytes


def repack(raw: np.ndarray, quant_type: QuantType, columns: int) -> np.ndarray:
    """Repack a matrix losslessly into panels.

    raw : (rows, row_bytes) uint8, as in the file
    Returns (ceil(rows / 16), panel_bytes) uint8; rows past the last are zero.
    """
    num_panels = -(-raw.shape[0] // PANEL_ROWS)
    size = panel_bytes(quant_type, columns)
    panels = aligned_empty(num_panels * size).reshape(num_panels, size)
    if raw.shape[0] % PANEL_ROWS:
        panels[-1] = 0
    fill = _filler(quant_type)
    step = max(1, _BYTES_A_TURN // max(1, size))
    turns = [(first, min(first + step, num_panels)) for first in range(0, num_panels, step)]
    if len(turns) == 1:
        fill(raw, panels, *turns[0])
    else:
        with ThreadPoolExecutor(POOL.num_threads) as threads:
            list(threads.map(lambda turn: fill(raw, panels, *turn), turns))
    return panels


@cache
def _filler(quant_type: QuantType) -> Any:
    """The compiled function (raw, panels, first, end) that fills panels first .. end - 1."""
    if quant_type in FLOAT_DTYPES:
        return _float_filler(quant_type.block_bytes)
    return _quantized_filler(quant_type)


def _float_filler(item_bytes: int) -> Any:
    @kernel()
    def fill(raw, panels, first, end):
        for p in range(first, end):
            for r in range(min(PANEL_ROWS, raw.shape[0] - p * PANEL_ROWS)):
                for k in range(raw.shape[1] // item_bytes):
                    for byte in range(item_bytes):
                        panels[p, (k * PANEL_ROWS + r) * item_bytes + byte] = raw[
                            p * PANEL_ROWS + r, k * item_bytes + byte
                        ]

    return fill


def _quantized_filler(quant_type: QuantType) -> Any:
    form = PANEL_FORMATS[quant_type]
    name, block_bytes = quant_type.name, quant_type.block_bytes
    unit_columns, unit_bytes = form.unit_columns, form.unit_bytes
    num_scales, num_subs, sub_rows = 1 + form.has_minimum, form.num_sub_blocks, form.num_sub_rows
    subs_at, planes_at, plane_bytes = form.sub_scales_at, form.planes_at, form.block_bytes
    # One constant each, so that the loops over a plane's bits unroll; 0 where there is no second.
    low_width, high_width = (*form.planes, 0)[:2]

    @kernel()
    def fill(raw, panels, first, end):
        q = np.empty(unit_columns, np.uint8)
        scales = np.empty(2, np.uint16)
        subs = np.empty((2, 16), np.uint8)
        fours, words, halves = q.view(np.uint32), panels.view(np.uint32), panels.view(np.uint16)
        for p in range(first, end):
            for r in range(min(PANEL_ROWS, raw.shape[0] - p * PANEL_ROWS)):
                row = raw[p * PANEL_ROWS + r]
                for u in range(row.shape[0] // block_bytes):
                    unpack_block(name, row, u * block_bytes, q, scales, subs)
                    unit = u * unit_bytes
                    for i in range(num_scales):
                        halves[p, unit // 2 + i * PANEL_ROWS + r] = scales[i]
                    for i in range(sub_rows):
                        for j in range(num_subs):
                            at = unit + subs_at + (i * num_subs + j) * PANEL_ROWS + r
                            panels[p, at] = subs[i, j]
                    for block in range(unit_columns // BLOCK_COLUMNS):
                        at = (unit + planes_at + block * plane_bytes) // 4 + r
                        _place_plane(words, p, at, fours, block, 0, low_width)
                        if high_width:
                            at += low_width * PANEL_ROWS
                            _place_plane(words, p, at, fours, block, low_width, high_width)

    return fill


@register_jitable
def _place_plane(words, p, at, fours, block, shift, width):
    """Put `width` bits from bit `shift` of a block's 32 columns into their plane, 4 at a time."""
    groups = 8 // width
    mask = np.uint32(((1 << width) - 1) * 0x01010101)
    for v in range(GROUPS // groups):
        word = np.uint32(0)
        for g in range(groups):
            bits = (fours[block * GROUPS + v * groups + g] >> np.uint32(shift)) & mask
            word |= bits << np.uint32(g * width)
        words[p, at + PANEL_ROWS * v] = word
