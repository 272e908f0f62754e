"""Activations as the products read them."""

from dataclasses import dataclass

import torch
import triton

from slipstream.cpu_kernels import RmsNorm
from slipstream.cpu_kernels.row_source import AS_IS, row_source
from slipstream.gpu_kernels.kernels.pack_rows import pack_rows
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.weight import FloatPart, QuantisedPart, Weight

_MOST_COLUMNS = 1024  # of a row that one program packs


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRows:
    """M rows in the forms that the parts of a weight need; the other form has no rows.

    quants : (M, C) int8
    scales : (M, C / 32) float32
    sums   : (M, C / 16) float32, scale times the sum of 16 quants
    made   : (M, C) float32, what the product is taken of
    """

    quants: torch.Tensor
    scales: torch.Tensor
    sums: torch.Tensor
    made: torch.Tensor


def packed_rows(
    x: torch.Tensor, weight: Weight, norm: RmsNorm | None, activation: str | None
) -> PackedRows:
    """Norm the rows or open their gates, and round them to int8 where the weight is quantised."""
    num_rows, columns = x.shape[0], weight.columns
    source = row_source(norm, activation)
    quantised = any(isinstance(part, QuantisedPart) for part in weight.parts)
    floats = any(isinstance(part, FloatPart) for part in weight.parts)
    makes = floats and source != AS_IS

    def empty(wanted: bool, width: int, dtype: torch.dtype) -> torch.Tensor:
        return x.new_empty((num_rows if wanted else 0, width), dtype=dtype)

    packed = PackedRows(
        quants=empty(quantised, columns, torch.int8),
        scales=empty(quantised, columns // 32, torch.float32),
        sums=empty(quantised, columns // 16, torch.float32),
        made=empty(makes, columns, torch.float32) if makes or not floats else x,
    )
    if not quantised and not makes:
        return packed
    block = min(_MOST_COLUMNS, max(32, triton.next_power_of_2(columns)))
    pack_rows[(num_rows, triton.cdiv(columns, block))](
        x,
        None if norm is None else norm.weight,
        packed.quants,
        packed.scales,
        packed.sums,
        packed.made,
        columns,
        0.0 if norm is None else norm.eps,
        SOURCE=source,
        QUANTISED=quantised,
        FLOATS=makes,
        BLOCK=block,
        **EXACT,
    )
    return packed
