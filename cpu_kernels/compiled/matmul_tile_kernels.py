"""The compiled tile kernels, one for each quantisation and number of activation rows."""

from functools import cache
from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.cache import c_kernel
from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS, runnable
from slipstream.cpu_kernels.compiled.matmul_tile import TILE_ROWS, TILE_SIGNATURE, emit_tile
from slipstream.cpu_kernels.quant_types import QuantType


def tile_addresses(quant_type: QuantType, instruction_set: str | None = None) -> np.ndarray:
    """Addresses of the tile kernels for 8, 4, 2 and 1 rows, (4,) uint64; compiles what is missing.

    Raises ValueError when this host can't run `instruction_set`; None takes the best it can.
    """
    chosen = instruction_set or runnable()[0]
    if chosen not in runnable():
        needs = INSTRUCTION_SETS[chosen].requires if chosen in INSTRUCTION_SETS else "nothing known"
        raise ValueError(
            f"instruction set: this CPU runs {runnable()}, got {chosen!r}, which needs {needs}"
        )
    return np.array([_tile(quant_type, rows, chosen).address for rows in TILE_ROWS], np.uint64)


@cache
def _tile(quant_type: QuantType, rows: int, instruction_set: str) -> Any:
    name = quant_type.name

    @c_kernel(TILE_SIGNATURE)
    def tile(panel, columns, x, x_stride, scales, scales_stride, out, out_stride):
        emit_tile(
            name,
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
        )

    return tile
