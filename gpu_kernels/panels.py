"""Weights that the CPU's kernels have in panels, as the GPU's kernels take them.

What is copied from the host are its panels, byte by byte (`cpu_kernels.panel_format`); a program on
the device puts their bits where `word_planes` has them.
"""

import torch
import triton

from slipstream.cpu_kernels.panel_format import (
    BLOCK_COLUMNS,
    PANEL_FORMATS,
    PANEL_ROWS,
    PanelFormat,
)
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.gpu_kernels.kernels.unpack_plane import unpack_plane
from slipstream.gpu_kernels.weight import FLOAT_TYPES, FloatPart, QuantisedPart
from slipstream.gpu_kernels.word_planes import Planes

_SUB_SCALE_TYPES = {"u8": torch.uint8, "u4": torch.uint8, "i8": torch.int8}
_PROGRAM_WORDS = 2048  # of a plane that one program moves


def part_of_panels(
    panels: torch.Tensor, quant_type: QuantType, rows: int, columns: int
) -> FloatPart | QuantisedPart:
    """A matrix of (rows, columns) out of the CPU's panels.

    panels : (ceil(rows / 16), panel_bytes) uint8, on the device
    The same bits as `pack_weight` makes of the file.
    """
    if quant_type in FLOAT_TYPES:
        by_column = panels.view(FLOAT_TYPES[quant_type]).view(len(panels), columns, PANEL_ROWS)
        numbers = by_column.transpose(1, 2).contiguous().view(-1, columns)[:rows]
        return FloatPart(quant_type=quant_type, rows=rows, numbers=numbers)
    form = PANEL_FORMATS[quant_type]
    return QuantisedPart(quant_type=quant_type, rows=rows, planes=_planes(panels, form, columns))


def _planes(panels: torch.Tensor, form: PanelFormat, columns: int) -> Planes:
    units = panels.view(len(panels), columns // form.unit_columns, form.unit_bytes)

    def numbers(first: int, count: int, dtype: torch.dtype) -> torch.Tensor:
        """`count` rows of 16 numbers of each unit, (panels, units * count, 16)."""
        size = count * PANEL_ROWS * dtype.itemsize
        taken = units[:, :, first : first + size].contiguous().view(dtype)
        return taken.view(len(panels), -1, PANEL_ROWS)

    scale_type = torch.int16 if form.scale_dtype == "bf16" else torch.float16
    has_sub_minimums = form.num_sub_rows == 2
    sub_scales = sub_minimums = None
    if form.sub_scale is not None:
        dtype = _SUB_SCALE_TYPES[form.sub_scale]
        sub_scales = numbers(form.sub_scales_at, form.num_sub_blocks, dtype)
    if has_sub_minimums:
        sub_minimums = numbers(form.sub_minimums_at, form.num_sub_blocks, torch.uint8)
    two_planes = len(form.planes) == 2
    return Planes(
        low=_plane(panels, form, columns, 0),
        high=_plane(panels, form, columns, 1) if two_planes else None,
        scale=numbers(0, 1, scale_type),
        minimum=numbers(form.minimums_at, 1, scale_type) if form.has_minimum else None,
        sub_scales=sub_scales,
        sub_minimums=sub_minimums,
    )


def _plane(panels: torch.Tensor, form: PanelFormat, columns: int, plane: int) -> torch.Tensor:
    """Int32 (panels, blocks, 16, width) of the first or second plane."""
    num_blocks, width = columns // BLOCK_COLUMNS, form.planes[plane]
    shape = (len(panels), num_blocks, PANEL_ROWS, width)
    words = torch.empty(shape, dtype=torch.int32, device=panels.device)
    blocks = _PROGRAM_WORDS // (PANEL_ROWS * width)
    unpack_plane[(len(panels), triton.cdiv(num_blocks, blocks))](
        panels.view(torch.int32),
        words,
        num_blocks,
        panels.shape[1] // 4,
        form.unit_bytes // 4,
        form.plane_at(plane) // 4,
        form.block_bytes // 4,
        UNIT_BLOCKS=form.blocks,
        WIDTH=width,
        BLOCKS=blocks,
    )
    return words
