"""A weight matrix as the reference holds it: the file's own bytes."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from slipstream.cpu_kernels.errors import expect_shape
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.reference.dequantize import dequantize


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A matrix of (rows, columns); raw : (rows, row_bytes) uint8."""

    quant_type: QuantType
    raw: np.ndarray = field(repr=False)
    columns: int

    @property
    def rows(self) -> int:
        return int(self.raw.shape[0])

    @property
    def num_bytes(self) -> int:
        return int(self.raw.nbytes)

    @cached_property
    def exact(self) -> np.ndarray:
        """The values that the bytes stand for, (rows, columns) float64."""
        return dequantize(self.raw, self.quant_type, np.float64)


def pack_weight(raw: np.ndarray, quant_type: QuantType, columns: int) -> Weight:
    """A weight from its rows in the file: raw (rows, row_bytes) uint8.

    Raises ShapeError when the columns are not whole blocks or the rows have another size.
    """
    expect_shape("raw", raw.shape, (raw.shape[0], quant_type.row_bytes(columns)))
    return Weight(quant_type=quant_type, raw=raw, columns=columns)


def weight_bytes(quant_type: QuantType, rows: int, columns: int) -> int:
    """Bytes that a packed weight takes in memory."""
    return rows * quant_type.row_bytes(columns)
