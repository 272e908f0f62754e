"""Matrix product of activations with a packed weight."""

from dataclasses import dataclass

import torch
import triton

from slipstream.cpu_kernels import RmsNorm
from slipstream.cpu_kernels.panel_format import PANEL_FORMATS
from slipstream.cpu_kernels.reference.matmul import check_source
from slipstream.cpu_kernels.row_source import AS_IS, row_source
from slipstream.gpu_kernels.code_tables import code_table
from slipstream.gpu_kernels.kernels import matmul as kernels
from slipstream.gpu_kernels.kernels.pack_rows import pack_rows
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.tensors import expect_tensor
from slipstream.gpu_kernels.weight import FloatPart, QuantisedPart, Weight

_SUB_SCALES = {None: kernels.NO_SUB_SCALES, "u4": kernels.NIBBLES}
_PACK_COLUMNS = 1024  # of a row that one program packs
_FEW_ROWS = 16  # the least that matrix units multiply; more rows share each weight that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class _PackedRows:
    """What `pack_rows` made; those that no part of the weight needs have no rows."""

    quants: torch.Tensor
    scales: torch.Tensor
    sums: torch.Tensor
    made: torch.Tensor


def matmul(
    x: torch.Tensor,
    weight: Weight,
    *,
    norm: RmsNorm | None = None,
    activation: str | None = None,
    bias: torch.Tensor | None = None,
    accumulate: bool = False,
    out: torch.Tensor,
) -> torch.Tensor:
    """As `slipstream.cpu_kernels.reference.matmul`.

    Quantised weights meet activations rounded to int8, 32 columns a scale, as in the kernels of
    the CPU, so that the devices agree within float32 rounding. Row m of a product with them is
    bit-identical whatever M is.
    """
    check_source(norm, activation)
    num_rows, columns = x.shape[0], weight.columns
    expect_tensor("x", x, torch.float32, (num_rows, 2 * columns if activation else columns))
    expect_tensor("out", out, torch.float32, (num_rows, weight.rows))
    if norm is not None:
        expect_tensor("norm", norm.weight, torch.float32, (columns,))
    if bias is not None:
        expect_tensor("bias", bias, torch.float32, (weight.rows,))
    if num_rows == 0:
        return out
    packed = _pack(x, weight, norm, activation)
    first_column = 0
    for part in weight.parts:
        if isinstance(part, QuantisedPart):
            _multiply_planes(packed, part, columns, bias, accumulate, out, first_column)
        else:
            _multiply_floats(packed.made, part, columns, bias, accumulate, out, first_column)
        first_column += part.rows
    return out


def _pack(
    x: torch.Tensor, weight: Weight, norm: RmsNorm | None, activation: str | None
) -> _PackedRows:
    num_rows, columns = x.shape[0], weight.columns
    source = row_source(norm, activation)
    quantised = any(isinstance(part, QuantisedPart) for part in weight.parts)
    floats = any(isinstance(part, FloatPart) for part in weight.parts)
    makes = floats and source != AS_IS

    def empty(wanted: bool, width: int, dtype: torch.dtype) -> torch.Tensor:
        return x.new_empty((num_rows if wanted else 0, width), dtype=dtype)

    packed = _PackedRows(
        quants=empty(quantised, columns, torch.int8),
        scales=empty(quantised, columns // 32, torch.float32),
        sums=empty(quantised, columns // 16, torch.float32),
        made=empty(makes, columns, torch.float32) if makes or not floats else x,
    )
    if not quantised and not makes:
        return packed
    block = min(_PACK_COLUMNS, max(32, triton.next_power_of_2(columns)))
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


def _multiply_planes(
    packed: _PackedRows,
    part: QuantisedPart,
    columns: int,
    bias: torch.Tensor | None,
    accumulate: bool,
    out: torch.Tensor,
    first_column: int,
) -> None:
    form, planes, num_rows = PANEL_FORMATS[part.quant_type], part.planes, out.shape[0]
    block_m, block_n, num_warps = _tile(num_rows)
    grid = (triton.cdiv(num_rows, block_m), triton.cdiv(part.rows, block_n))
    kernels.multiply_planes[grid](
        packed.quants,
        packed.scales,
        packed.sums,
        planes.low,
        planes.high,
        planes.scale,
        planes.minimum,
        planes.sub_scales,
        planes.sub_minimums,
        code_table(form.table) if form.table else None,
        bias,
        out,
        num_rows,
        part.rows,
        columns,
        out.shape[1],
        first_column,
        LOW_BITS=form.planes[0],
        HIGH_BITS=form.planes[1] if len(form.planes) == 2 else 0,
        UNIT_BLOCKS=form.blocks,
        OFFSET=form.offset,
        HAS_TABLE=form.table is not None,
        BFLOAT16=form.scale_dtype == "bf16",
        SUB=_SUB_SCALES.get(form.sub_scale, kernels.SUB_SCALES),
        HALVES=32 // form.sub_block,
        HAS_MINIMUM=form.has_minimum,
        HAS_BIAS=bias is not None,
        ACCUMULATE=accumulate,
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        UNROLL=_unrolled(columns // 32, num_rows),
        num_warps=num_warps,
        **EXACT,
    )


def _multiply_floats(
    made: torch.Tensor,
    part: FloatPart,
    columns: int,
    bias: torch.Tensor | None,
    accumulate: bool,
    out: torch.Tensor,
    first_column: int,
) -> None:
    num_rows = out.shape[0]
    block_m, block_n, num_warps = _tile(num_rows)
    grid = (triton.cdiv(num_rows, block_m), triton.cdiv(part.rows, block_n))
    kernels.multiply_floats[grid](
        made,
        part.numbers,
        bias,
        out,
        num_rows,
        part.rows,
        columns,
        out.shape[1],
        first_column,
        BFLOAT16=part.numbers.dtype == torch.int16,
        HAS_BIAS=bias is not None,
        ACCUMULATE=accumulate,
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        BLOCK_K=32,
        num_warps=num_warps,
        **EXACT,
    )


def _tile(num_rows: int) -> tuple[int, int, int]:
    """Rows of x and of the weight that one program multiplies, and its warps."""
    if num_rows <= _FEW_ROWS:
        return _FEW_ROWS, 16, 1
    return (32, 64, 4) if num_rows <= 2 * _FEW_ROWS else (64, 64, 4)


def _unrolled(num_blocks: int, num_rows: int) -> int:
    """Blocks of columns between two turns of the kernel's loop, a divisor of all.

    More of them let more reads wait together; with many rows they would not fit in registers.
    """
    if num_rows > _FEW_ROWS:
        return 1
    return next(count for count in (4, 2, 1) if num_blocks % count == 0)
