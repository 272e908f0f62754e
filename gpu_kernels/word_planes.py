"""Word planes: how a quantised matrix lies in GPU memory for the matrix-product kernel.

Rows go in panels of 16, columns in blocks of 32. The bits of a code are split over planes 8, 4, 2
or 1 bits wide, low bits first. A plane of width w is int32 (panels, blocks, 16, w): the 32 columns
of a block are w words of a row, in order, the first in a word's lowest bits. What a program reads
in one step is therefore one run of memory, whatever the width. Scales lie beside it, as
(panels, units, 16) or (panels, sub-blocks, 16). No bit of the file is lost, none is added.
"""

from dataclasses import dataclass, fields

import torch

from slipstream.cpu_kernels.panel_format import BLOCK_COLUMNS, PANEL_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """A quantised matrix of (rows, columns) in panels; `None` where a format has no such part.

    low, high     : int32 (panels, blocks, 16, width)
    scale         : (panels, units, 16) float16, or int16: the bits of bfloat16
    minimum       : as scale
    sub_scales    : (panels, sub-blocks, 16) uint8 or int8
    sub_minimums  : (panels, sub-blocks, 16) uint8
    """

    low: torch.Tensor
    high: torch.Tensor | None
    scale: torch.Tensor
    minimum: torch.Tensor | None
    sub_scales: torch.Tensor | None
    sub_minimums: torch.Tensor | None

    def empty_like(self, num_panels: int) -> "Planes":
        """Uninitialised planes of the same format, with so many panels."""
        parts = ((each.name, getattr(self, each.name)) for each in fields(self))
        return Planes(
            **{
                name: None if part is None else part.new_empty((num_panels, *part.shape[1:]))
                for name, part in parts
            }
        )

    def fill(self, first_panel: int, planes: "Planes") -> None:
        """Copy planes into these, from this panel on."""
        for mine, theirs in zip(self.tensors, planes.tensors, strict=True):
            mine[first_panel : first_panel + len(theirs)] = theirs

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Those that there are."""
        parts = (getattr(self, each.name) for each in fields(self))
        return tuple(part for part in parts if part is not None)


def pack_plane(codes: torch.Tensor, first_bit: int, width: int) -> torch.Tensor:
    """The words of bits first_bit .. first_bit + width - 1 of each code, in panels.

    codes : (rows, columns) uint8, rows a multiple of 16 and columns of 32
    """
    rows, columns = codes.shape
    in_word = codes.reshape(rows, columns * width // 32, 32 // width)
    words = torch.zeros(in_word.shape[:2], dtype=torch.int32, device=codes.device)
    for place in range(32 // width):
        bits = (in_word[:, :, place] >> first_bit) & ((1 << width) - 1)
        words |= bits.to(torch.int32) << (place * width)
    blocks = words.reshape(rows // PANEL_ROWS, PANEL_ROWS, columns // BLOCK_COLUMNS, width)
    return blocks.transpose(1, 2).contiguous()


def pack_column_groups(numbers: torch.Tensor) -> torch.Tensor:
    """Numbers of each row (rows, groups) in panels: (panels, groups, 16)."""
    rows, groups = numbers.shape
    return numbers.reshape(rows // PANEL_ROWS, PANEL_ROWS, groups).transpose(1, 2).contiguous()
