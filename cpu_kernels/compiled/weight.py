"""A weight matrix as the compiled kernels hold it."""

from dataclasses import dataclass, field

import numpy as np

from slipstream.cpu_kernels.compiled.matmul_tile_kernels import tile_addresses
from slipstream.cpu_kernels.compiled.panel_format import PANEL_ROWS
from slipstream.cpu_kernels.compiled.repack import panel_bytes, repack
from slipstream.cpu_kernels.errors import ShapeError
from slipstream.cpu_kernels.quant_types import QuantType


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A packed matrix of (rows, columns).

    panels : (ceil(rows / 16), panel_bytes) uint8, see panel_format
    tiles  : (4,) uint64, addresses of the kernels for 8, 4, 2 and 1 activation rows
    """

    quant_type: QuantType
    rows: int
    columns: int
    panels: np.ndarray = field(repr=False)
    tiles: np.ndarray = field(repr=False)

    @property
    def quantised(self) -> bool:
        """Whether activations are rounded to int8 to meet it."""
        return self.quant_type.block_columns > 1

    @property
    def num_bytes(self) -> int:
        return self.panels.nbytes


def pack_weight(raw: np.ndarray, quant_type: QuantType, columns: int) -> Weight:
    """Repack a matrix from its rows in the file: raw (rows, row_bytes) uint8.

    Raises ShapeError when the columns are not whole blocks.
    """
    if columns % quant_type.block_columns or raw.shape[1] != quant_type.row_bytes(columns):
        raise ShapeError(
            f"raw: expected rows of {columns} columns of {quant_type.name}, "
            f"got rows of {raw.shape[1]} bytes"
        )
    return Weight(
        quant_type=quant_type,
        rows=raw.shape[0],
        columns=columns,
        panels=repack(raw, quant_type, columns),
        tiles=tile_addresses(quant_type),
    )


def weight_bytes(quant_type: QuantType, rows: int, columns: int) -> int:
    """Bytes that a packed weight takes in memory."""
    return -(-rows // PANEL_ROWS) * panel_bytes(quant_type, columns)
