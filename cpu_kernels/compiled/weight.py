"""A weight matrix as the compiled kernels hold it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from slipstream.cpu_kernels.compiled.instruction_set import checked, chosen_instruction_set
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.packed_rows import FLOAT, QUANTISED, TILE_ROWS
from slipstream.cpu_kernels.compiled.repack import panel_bytes, repack
from slipstream.cpu_kernels.errors import ShapeError
from slipstream.cpu_kernels.panel_format import PANEL_ROWS
from slipstream.cpu_kernels.quant_types import QuantType

# Words of a part in `Weight.table`.
PANELS, PANEL_BYTES, NUM_PANELS, ROWS, FIRST_ROW, FORM, TILES = range(7)
PART_WORDS = TILES + len(TILE_ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPart:
    """A packed matrix of one quantisation.

    panels : (ceil(rows / 16), panel_bytes) uint8, see panel_format
    tiles  : addresses of the kernels for each of TILE_ROWS, uint64
    """

    quant_type: QuantType
    rows: int
    panels: np.ndarray = field(repr=False)
    tiles: np.ndarray = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Weight:
    """Matrices of as many columns, one above the other: together one matrix (rows, columns)."""

    parts: tuple[WeightPart, ...]
    columns: int

    @cached_property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def num_bytes(self) -> int:
        return sum(part.panels.nbytes for part in self.parts)

    @cached_property
    def forms(self) -> int:
        """Bits: the forms of packed activations that the parts meet."""
        return int(np.bitwise_or.reduce(self.table[:, FORM]))

    @cached_property
    def table(self) -> np.ndarray:
        """(parts, words) int64: the parts as kernels find them."""
        table = np.zeros((len(self.parts), PART_WORDS), np.int64)
        first_row = 0
        for words, part in zip(table, self.parts, strict=True):
            words[PANELS] = part.panels.ctypes.data
            words[PANEL_BYTES] = part.panels.shape[1]
            words[NUM_PANELS] = part.panels.shape[0]
            words[ROWS], words[FIRST_ROW] = part.rows, first_row
            words[FORM] = QUANTISED if part.quant_type.block_columns > 1 else FLOAT
            words[TILES:] = part.tiles.view(np.int64)
            first_row += part.rows
        return table


def pack_weight(
    raw: np.ndarray,
    quant_type: QuantType,
    columns: int,
    *,
    was_read: Callable[[int], None] | None = None,
) -> Weight:
    """Repack a matrix from its rows in the file: raw (rows, row_bytes) uint8.

    was_read : told now and then how many more bytes of `raw` are not needed any more
    Raises ShapeError when the columns are not whole blocks.
    """
    if columns % quant_type.block_columns or raw.shape[1] != quant_type.row_bytes(columns):
        raise ShapeError(
            f"raw: expected rows of {columns} columns of {quant_type.name}, "
            f"got rows of {raw.shape[1]} bytes"
        )
    part = WeightPart(
        quant_type=quant_type,
        rows=raw.shape[0],
        panels=repack(raw, quant_type, columns, was_read),
        tiles=tile_addresses(quant_type),
    )
    return Weight(parts=(part,), columns=columns)


def stack_weights(weights: Sequence[Weight]) -> Weight:
    """One weight with the rows of all, in their order; shares their memory.

    Raises ShapeError when they differ in columns.
    """
    columns = {weight.columns for weight in weights}
    if len(columns) != 1:
        raise ShapeError(f"weights: expected as many columns in each, got {sorted(columns)}")
    parts = tuple(part for weight in weights for part in weight.parts)
    return Weight(parts=parts, columns=columns.pop())


def tile_addresses(quant_type: QuantType, instruction_set: str | None = None) -> np.ndarray:
    """Addresses of the kernels for each of `TILE_ROWS`, uint64.

    Raises ValueError when this host can't run `instruction_set`; None takes the chosen one.
    """
    chosen = checked(instruction_set) if instruction_set else chosen_instruction_set()
    tiles = [load_kernel("matmul_tile.tile", quant_type.name, m, chosen) for m in TILE_ROWS]
    return np.array([tile.address for tile in tiles], np.uint64)


def weight_bytes(quant_type: QuantType, rows: int, columns: int) -> int:
    """Bytes that a packed weight takes in memory."""
    return -(-rows // PANEL_ROWS) * panel_bytes(quant_type, columns)
