"""A weight matrix as the reference holds it: the file's own bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from slipstream.cpu_kernels.errors import ShapeError, expect_shape
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.reference.dequantize import dequantize


@dataclass(frozen=True, kw_only=True)
class Weight:
    """Matrices of as many columns, one above the other: together one matrix (rows, columns).

    parts : raw (rows, row_bytes) uint8 and its type, of each
    """

    parts: tuple[tuple[np.ndarray, QuantType], ...] = field(repr=False)
    columns: int

    @property
    def rows(self) -> int:
        return sum(len(raw) for raw, _ in self.parts)

    @property
    def num_bytes(self) -> int:
        return sum(raw.nbytes for raw, _ in self.parts)

    @cached_property
    def exact(self) -> np.ndarray:
        """The values that the bytes stand for, (rows, columns) float64."""
        return np.vstack([dequantize(raw, kind, np.float64) for raw, kind in self.parts])


def pack_weight(
    raw: np.ndarray,
    quant_type: QuantType,
    columns: int,
    *,
    was_read: Callable[[int], None] | None = None,
) -> Weight:
    """A weight from its rows in the file: raw (rows, row_bytes) uint8.

    was_read : told how many more bytes of `raw` are not needed any more: never, they are kept
    Raises ShapeError when the columns are not whole blocks or the rows have another size.
    """
    expect_shape("raw", raw.shape, (raw.shape[0], quant_type.row_bytes(columns)))
    return Weight(parts=((raw, quant_type),), columns=columns)


def stack_weights(weights: Sequence[Weight]) -> Weight:
    """One weight with the rows of all, in their order; shares their memory.

    Raises ShapeError when they differ in columns.
    """
    columns = {weight.columns for weight in weights}
    if len(columns) != 1:
        raise ShapeError(f"weights: expected as many columns in each, got {sorted(columns)}")
    return Weight(parts=sum((weight.parts for weight in weights), ()), columns=columns.pop())


def weight_bytes(quant_type: QuantType, rows: int, columns: int) -> int:
    """Bytes that a packed weight takes in memory."""
    return rows * quant_type.row_bytes(columns)
