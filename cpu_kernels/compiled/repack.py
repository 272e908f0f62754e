"""Turns the rows of a file's matrix into panels, in parallel, once at load."""

from collections.abc import Callable

import numpy as np

from slipstream.cpu_kernels.compiled.buffers import Arena
from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import REPACK
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.errors import expect_array
from slipstream.cpu_kernels.panel_format import FLOAT_DTYPES, PANEL_FORMATS, PANEL_ROWS
from slipstream.cpu_kernels.quant_types import QuantType

_ARENA = Arena()
_BYTES_AN_ITEM = 1 << 18  # some 0.1 ms: far more than taking an item costs
_BYTES_TOGETHER = 2 << 20  # of the file: little, since they are in memory twice meanwhile


def panel_bytes(quant_type: QuantType, columns: int) -> int:
    """Bytes of one panel of 16 rows."""
    if quant_type in FLOAT_DTYPES:
        return PANEL_ROWS * quant_type.row_bytes(columns)
    form = PANEL_FORMATS[quant_type]
    return columns // form.unit_columns * form.unit_bytes


def repack(
    raw: np.ndarray,
    quant_type: QuantType,
    columns: int,
    was_read: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Repack a matrix losslessly into panels.

    raw      : (rows, row_bytes) uint8, as in the file
    was_read : told after every 2 MiB how many bytes of `raw` are not needed any more
    Returns (ceil(rows / 16), panel_bytes) uint8; rows past the last are of zeros.
    """
    expect_array("raw", raw, np.uint8, raw.shape)
    num_whole, rest = divmod(raw.shape[0], PANEL_ROWS)
    num_panels, size = num_whole + (rest > 0), panel_bytes(quant_type, columns)
    panels = _ARENA.take(num_panels * size).reshape(num_panels, size)
    step = max(1, _BYTES_TOGETHER // max(1, PANEL_ROWS * raw.shape[1]))
    for first in range(0, num_whole, step):
        end = min(first + step, num_whole)
        rows = raw[first * PANEL_ROWS : end * PANEL_ROWS]
        _fill(rows, quant_type, panels[first:end])
        if was_read:
            was_read(rows.nbytes)
    if rest:
        padded = np.zeros((PANEL_ROWS, raw.shape[1]), np.uint8)
        padded[:rest] = raw[-rest:]
        _fill(padded, quant_type, panels[num_whole:])
    return panels


def _fill(raw: np.ndarray, quant_type: QuantType, panels: np.ndarray) -> None:
    num_panels, size = panels.shape
    call = Call.of(
        load_kernel("repack.repack", quant_type.name),
        REPACK,
        raw=raw,
        row_bytes=raw.shape[1],
        panels=panels,
        num_panels=num_panels,
        panel_bytes=size,
        panels_an_item=max(1, _BYTES_AN_ITEM // max(1, size)),
    )
    POOL.run(call)
