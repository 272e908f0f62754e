"""A weight matrix as the GPU kernels hold it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from slipstream.cpu_kernels import QuantType, ShapeError
from slipstream.cpu_kernels.panel_format import FLOAT_DTYPES, PANEL_FORMATS, PANEL_ROWS
from slipstream.gpu_kernels.device import compute_device
from slipstream.gpu_kernels.file_blocks import take_apart
from slipstream.gpu_kernels.tensors import from_host
from slipstream.gpu_kernels.word_planes import (
    Planes,
    pack_column_groups,
    pack_plane,
)

FLOAT_TYPES = {
    QuantType.F32: torch.float32,
    QuantType.F16: torch.float16,
    QuantType.BF16: torch.int16,  # its bits
}
_BYTES_TOGETHER = 4 << 20  # of the file: their codes and words lie beside the result meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatPart:
    """A matrix that is not quantised.

    numbers : (rows, columns) float32, float16, or int16: the bits of bfloat16
    """

    quant_type: QuantType
    rows: int
    numbers: torch.Tensor = field(repr=False)

    @property
    def num_bytes(self) -> int:
        return int(self.numbers.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisedPart:
    """A matrix of one quantisation."""

    quant_type: QuantType
    rows: int
    planes: Planes = field(repr=False)

    @property
    def num_bytes(self) -> int:
        return sum(int(tensor.nbytes) for tensor in self.planes.tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Matrices of as many columns, one above the other: together one matrix (rows, columns)."""

    parts: tuple[FloatPart | QuantisedPart, ...]
    columns: int

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)


def pack_weight(
    raw: np.ndarray,
    quant_type: QuantType,
    columns: int,
    *,
    was_read: Callable[[int], None] | None = None,
) -> Weight:
    """Bring a matrix to the device from its rows in the file: raw (rows, row_bytes) uint8.

    was_read : told now and then how many more bytes of `raw` are not needed any more
    Raises ShapeError when the columns are not whole blocks or the rows have another size.
    """
    if columns % quant_type.block_columns or raw.shape[1] != quant_type.row_bytes(columns):
        raise ShapeError(
            f"raw: expected rows of {columns} columns of {quant_type.name}, "
            f"got rows of {raw.shape[1]} bytes"
        )
    part: FloatPart | QuantisedPart
    if quant_type in FLOAT_DTYPES:
        numbers = _copied(raw, was_read).view(FLOAT_TYPES[quant_type])
        part = FloatPart(quant_type=quant_type, rows=len(raw), numbers=numbers)
    else:
        planes = _packed(raw, quant_type, was_read)
        part = QuantisedPart(quant_type=quant_type, rows=len(raw), planes=planes)
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


def weight_bytes(quant_type: QuantType, rows: int, columns: int) -> int:
    """Bytes that a packed weight takes in the device's memory."""
    if quant_type in FLOAT_DTYPES:
        return rows * quant_type.row_bytes(columns)
    form = PANEL_FORMATS[quant_type]
    halves = 2 if form.has_minimum else 1
    unit = 2 * halves + form.num_sub_rows * form.num_sub_blocks
    unit += form.blocks * 4 * sum(form.planes)
    return -(-rows // PANEL_ROWS) * PANEL_ROWS * (columns // form.unit_columns) * unit


def _packed(
    raw: np.ndarray, quant_type: QuantType, was_read: Callable[[int], None] | None
) -> Planes:
    """A whole matrix in panels; rows past the last are of zeros."""
    num_panels = -(-len(raw) // PANEL_ROWS)
    whole: Planes | None = None
    for first, rows in _stretches(raw):
        planes = _pack_rows(rows, quant_type)
        if whole is None:
            whole = planes.empty_like(num_panels)
        whole.fill(first // PANEL_ROWS, planes)
        if was_read:
            was_read(rows.nbytes)
    assert whole is not None
    return whole


def _copied(raw: np.ndarray, was_read: Callable[[int], None] | None) -> torch.Tensor:
    """The bytes on the device, with no second copy of the whole in host memory."""
    copy = torch.empty(raw.shape, dtype=torch.uint8, device=compute_device())
    for first, rows in _stretches(raw):
        copy[first : first + len(rows)] = from_host(rows)
        if was_read:
            was_read(rows.nbytes)
    return copy


def _stretches(raw: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of the matrix, a few MiB together, and the number of the first."""
    panel_bytes = max(1, PANEL_ROWS * raw.shape[1])
    step = max(1, _BYTES_TOGETHER // panel_bytes) * PANEL_ROWS
    for first in range(0, max(1, len(raw)), step):
        yield first, raw[first : first + step]


def _pack_rows(raw: np.ndarray, quant_type: QuantType) -> Planes:
    """Panels of these rows (rows, row_bytes) uint8."""
    form = PANEL_FORMATS[quant_type]
    num_rows = -(-len(raw) // PANEL_ROWS) * PANEL_ROWS
    blocks = from_host(raw).reshape(-1, quant_type.block_bytes)
    padding = (num_rows - len(raw)) * (raw.shape[1] // quant_type.block_bytes)
    blocks = torch.nn.functional.pad(blocks, (0, 0, 0, padding))
    units = take_apart(blocks, quant_type)
    codes = units.codes.reshape(num_rows, -1)

    def by_row(numbers: torch.Tensor | None) -> torch.Tensor | None:
        if numbers is None:
            return None
        return pack_column_groups(numbers.reshape(num_rows, -1))

    scale = by_row(units.scale)
    assert scale is not None
    return Planes(
        low=pack_plane(codes, 0, form.planes[0]),
        high=pack_plane(codes, *form.planes) if len(form.planes) == 2 else None,
        scale=scale,
        minimum=by_row(units.minimum),
        sub_scales=by_row(units.sub_scales),
        sub_minimums=by_row(units.sub_minimums),
    )
