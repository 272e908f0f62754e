"""The compiled tile kernels, one for each quantisation and number of activation rows."""

from functools import cache
from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.cache import c_kernel
from slipstream.cpu_kernels.compiled.instruction_set import checked, chosen_instruction_set
from slipstream.cpu_kernels.compiled.matmul_tile import TILE_SIGNATURE, emit_tile
from slipstream.cpu_kernels.compiled.packed_rows import TILE_ROWS
from slipstream.cpu_kernels.quant_types import QuantType


def tile_addresses(quant_type: QuantType, instruction_set: str | None = None) -> np.ndarray:
    """Addresses of the kernels for each of `TILE_ROWS`, uint64; compiles what is missing.

    Raises ValueError when this host can't run `instruction_set`; None takes the chosen one.
    """
    chosen = checked(instruction_set) if instruction_set else chosen_instruction_set()
    return np.array([_tile(quant_type, rows, chosen).address for rows in TILE_ROWS], np.uint64)


@cache
def _tile(quant_type: QuantType, rows: int, instruction_set: str) -> Any:
    name = quant_type.name

    @c_kernel(TILE_SIGNATURE)
    def tile(panel, columns, x, bias, addend, addend_stride, out, out_stride):
        emit_tile(
            name,
            rows,
            instruction_set,
            panel,
            columns,
            x,
            bias,
            addend,
            addend_stride,
            out,
            out_stride,
        )

    return tile
