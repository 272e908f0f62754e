"""The product of rows with one part of a weight, launched in a given shape."""

from dataclasses import dataclass

import torch
import triton

from slipstream.cpu_kernels.panel_format import BLOCK_COLUMNS, PANEL_FORMATS, PanelFormat
from slipstream.gpu_kernels.code_tables import code_table
from slipstream.gpu_kernels.device import multiplies_int8
from slipstream.gpu_kernels.kernels import matmul as kernels
from slipstream.gpu_kernels.launch_shapes import LaunchShape
from slipstream.gpu_kernels.packed_rows import PackedRows
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.weight import FloatPart, QuantisedPart

_SUB_SCALES = {None: kernels.NO_SUB_SCALES, "u4": kernels.NIBBLES}
_FLOAT_COLUMNS = 16  # between two turns of the loop over float columns
_JOINED_COLUMNS = 256  # of a row of `out` that one program joins


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a product goes.

    out          : (M, rows of the whole weight) float32
    first_column : of `out`, where the part's products begin
    bias         : (rows of the whole weight,) float32, added
    accumulate   : what is in `out` is added too
    """

    out: torch.Tensor
    first_column: int = 0
    bias: torch.Tensor | None = None
    accumulate: bool = False


def multiply_part(
    packed: PackedRows,
    part: FloatPart | QuantisedPart,
    columns: int,
    target: Target,
    shape: LaunchShape,
) -> None:
    """Write the product of these rows, at least one, with a part of so many columns."""
    if isinstance(part, FloatPart):
        _multiply_floats(packed, part, columns, target, shape)
    elif shape.split:
        _multiply_segments(packed, part, columns, target, shape)
    else:
        _multiply_planes(packed, part, columns, target, shape, 1)


def _multiply_segments(
    packed: PackedRows,
    part: QuantisedPart,
    columns: int,
    target: Target,
    shape: LaunchShape,
) -> None:
    """The sum of each segment of columns by programs of its own, then all sums together."""
    num_rows, out_columns = target.out.shape
    num_segments = triton.cdiv(columns, kernels.SEGMENT_BLOCKS * BLOCK_COLUMNS)
    sums = target.out.new_empty((num_segments, num_rows, part.rows))
    _multiply_planes(packed, part, columns, Target(out=sums), shape, num_segments)
    kernels.join_segments[(num_rows, triton.cdiv(part.rows, _JOINED_COLUMNS))](
        sums,
        target.bias,
        target.out,
        num_rows,
        part.rows,
        num_segments,
        out_columns,
        target.first_column,
        HAS_BIAS=target.bias is not None,
        ACCUMULATE=target.accumulate,
        BLOCK=_JOINED_COLUMNS,
        **EXACT,
    )


def _multiply_planes(
    packed: PackedRows,
    part: QuantisedPart,
    columns: int,
    target: Target,
    shape: LaunchShape,
    num_programs: int,
) -> None:
    """`num_programs` programs share the columns of each tile."""
    form, planes, num_rows = PANEL_FORMATS[part.quant_type], part.planes, len(packed.quants)
    tiles = triton.cdiv(num_rows, shape.block_m), triton.cdiv(part.rows, shape.block_n)
    kernels.multiply_planes[(*tiles, num_programs)](
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
        target.bias,
        target.out,
        num_rows,
        part.rows,
        columns,
        target.out.shape[-1],
        target.first_column,
        LOW_BITS=form.planes[0],
        HIGH_BITS=form.planes[1] if len(form.planes) == 2 else 0,
        UNIT_BLOCKS=form.blocks,
        OFFSET=form.offset,
        HAS_TABLE=form.table is not None,
        BFLOAT16=form.scale_dtype == "bf16",
        SUB=_SUB_SCALES.get(form.sub_scale, kernels.SUB_SCALES),
        HALVES=BLOCK_COLUMNS // form.sub_block,
        HAS_MINIMUM=form.has_minimum,
        HAS_BIAS=target.bias is not None,
        ACCUMULATE=target.accumulate,
        BLOCK_M=shape.block_m,
        BLOCK_N=shape.block_n,
        UNROLL=_unroll(columns, form, shape),
        SPLIT=shape.split,
        IN_INT8=multiplies_int8(),
        num_warps=shape.num_warps,
        num_stages=shape.num_stages,
        **EXACT,
    )


def _multiply_floats(
    packed: PackedRows, part: FloatPart, columns: int, target: Target, shape: LaunchShape
) -> None:
    num_rows, out_columns = target.out.shape
    tiles = triton.cdiv(num_rows, shape.block_m), triton.cdiv(part.rows, shape.block_n)
    kernels.multiply_floats[tiles](
        packed.made,
        part.numbers,
        target.bias,
        target.out,
        num_rows,
        part.rows,
        columns,
        out_columns,
        target.first_column,
        BFLOAT16=part.numbers.dtype == torch.int16,
        HAS_BIAS=target.bias is not None,
        ACCUMULATE=target.accumulate,
        BLOCK_M=shape.block_m,
        BLOCK_N=shape.block_n,
        BLOCK_K=_FLOAT_COLUMNS,
        num_warps=shape.num_warps,
        num_stages=shape.num_stages,
        **EXACT,
    )


def _unroll(columns: int, form: PanelFormat, shape: LaunchShape) -> int:
    """Blocks in a turn of the loop: a divisor of all of them, and so of those of a segment."""
    most = max(1, shape.unroll * form.sub_block // BLOCK_COLUMNS)
    num_blocks = columns // BLOCK_COLUMNS
    return next(count for count in (8, 4, 2, 1) if count <= most and num_blocks % count == 0)
