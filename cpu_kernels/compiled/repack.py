"""Turns the rows of a file's matrix into panels, in parallel, once at load."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import prange

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.memory import aligned_empty
from slipstream.cpu_kernels.compiled.panel_format import (
    BLOCK_COLUMNS,
    FLOAT_DTYPES,
    GROUPS,
    PANEL_FORMATS,
    PANEL_ROWS,
)
from slipstream.cpu_kernels.compiled.unpack_block import unpack_block
from slipstream.cpu_kernels.quant_types import QuantType


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
    repacker(quant_type)(raw, panels)
    return panels


@cache
def repacker(quant_type: QuantType) -> Callable[[np.ndarray, np.ndarray], None]:
    """The compiled repacking of one type: (raw, panels) -> None."""
    if quant_type in FLOAT_DTYPES:
        return _float_repacker(quant_type.block_bytes)
    return _quantized_repacker(quant_type)


def _float_repacker(item_bytes: int) -> Any:
    @kernel(parallel=True)
    def run(raw, panels):
        for p in prange(panels.shape[0]):
            for r in range(min(PANEL_ROWS, raw.shape[0] - p * PANEL_ROWS)):
                for k in range(raw.shape[1] // item_bytes):
                    for byte in range(item_bytes):
                        panels[p, (k * PANEL_ROWS + r) * item_bytes + byte] = raw[
                            p * PANEL_ROWS + r, k * item_bytes + byte
                        ]

    return run


def _quantized_repacker(quant_type: QuantType) -> Any:
    form = PANEL_FORMATS[quant_type]
    name, block_bytes = quant_type.name, quant_type.block_bytes
    unit_columns, unit_bytes = form.unit_columns, form.unit_bytes
    planes, planes_at, plane_block_bytes = form.planes, form.planes_at, form.block_bytes
    has_minimum, num_subs = form.has_minimum, form.num_sub_blocks
    sub_rows = (
        0
        if form.sub_scale is None
        else (form.planes_at - form.sub_scales_at) // (PANEL_ROWS * num_subs)
    )
    subs_at = form.sub_scales_at

    @kernel(parallel=True)
    def run(raw, panels):
        for p in prange(panels.shape[0]):
            q = np.empty(unit_columns, np.uint8)
            scales = np.empty(2, np.uint16)
            subs = np.empty((2, 16), np.uint8)
            for r in range(min(PANEL_ROWS, raw.shape[0] - p * PANEL_ROWS)):
                row = raw[p * PANEL_ROWS + r]
                for u in range(row.shape[0] // block_bytes):
                    unpack_block(name, row, u * block_bytes, q, scales, subs)
                    unit = panels[p, u * unit_bytes : (u + 1) * unit_bytes]
                    for i in range(2 if has_minimum else 1):
                        unit[32 * i + 2 * r] = scales[i] & 0xFF
                        unit[32 * i + 2 * r + 1] = scales[i] >> 8
                    for i in range(sub_rows):
                        for j in range(num_subs):
                            unit[subs_at + (i * num_subs + j) * PANEL_ROWS + r] = subs[i, j]
                    for b in range(unit_columns // BLOCK_COLUMNS):
                        at = planes_at + b * plane_block_bytes
                        shift = 0
                        for width in planes:
                            mask = (1 << width) - 1
                            groups = 8 // width
                            for v in range(GROUPS // groups):
                                for j in range(4):
                                    byte = 0
                                    for g in range(groups):
                                        column = b * BLOCK_COLUMNS + 4 * (v * groups + g) + j
                                        byte |= ((q[column] >> shift) & mask) << (g * width)
                                    unit[at + 64 * v + 4 * r + j] = byte
                            at += 64 * width
                            shift += width

    return run
