"""Panel formats: how a quantised matrix lies in memory for the dot-product kernels.

A panel holds 16 rows, interleaved so that one 64-byte vector is 16 rows x 4 consecutive columns:
the kernel broadcasts 4 activation bytes against it and needs no horizontal sum. Along the columns
a panel is a run of *units*; a unit has the columns that share one file scale (32, or 256 for
K-quants) and lies as

    scale[16] (2 bytes each) | minimum[16] (2 bytes each) | sub-scales[n][16] | sub-minimums[n][16]
    | for each block of 32 columns: its bit planes

A value's bits are split over planes 8, 4, 2 or 1 bits wide, low bits first. Columns go in groups
of 4, eight groups a block; a plane of width w keeps 8/w groups in each of its w vectors, group g
in vector g // (8/w) at bit (g % (8/w)) * w. Repacking from the file's layout loses nothing.

The kernels of a GPU take the same declarations and rows of panels; their planes lie otherwise
(`slipstream.gpu_kernels.word_planes`).
"""

from dataclasses import dataclass

from slipstream.cpu_kernels.quant_types import QuantType

PANEL_ROWS = 16
BLOCK_COLUMNS = 32
GROUPS = 8  # groups of 4 columns in a block


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelFormat:
    """The layout of one quantisation, and the value that its bits stand for.

    weight = scale * (q - offset)                      without minimums
    weight = scale * q + minimum                       with minimums
    q = table[bits] where there is a table, else the bits themselves.
    scale = file scale * sub-scale; minimum = -(file minimum * sub-minimum) where there are
    sub-minimums, else the file's minimum.
    """

    planes: tuple[int, ...]
    unit_columns: int = BLOCK_COLUMNS
    sub_block: int = BLOCK_COLUMNS  # columns that share a scale: 16 or 32
    offset: int = 0
    table: tuple[int, ...] | None = None
    scale_dtype: str = "f16"  # or "bf16"
    sub_scale: str | None = (
        None  # "u8", "i8", or "u4": scale in the low nibble, minimum in the high
    )
    has_minimum: bool = False

    @property
    def largest(self) -> int:
        """The largest q."""
        return max(self.table) if self.table else (1 << sum(self.planes)) - 1

    @property
    def blocks(self) -> int:
        """Blocks of 32 columns in a unit."""
        return self.unit_columns // BLOCK_COLUMNS

    @property
    def num_sub_blocks(self) -> int:
        return self.unit_columns // self.sub_block

    @property
    def num_sub_rows(self) -> int:
        """Rows of sub-scales and sub-minimums in a unit."""
        if self.sub_scale is None:
            return 0
        return 2 if self.has_minimum and self.sub_scale != "u4" else 1

    @property
    def minimums_at(self) -> int:
        """Byte offset of the minimums in a unit that has them."""
        return 2 * PANEL_ROWS

    @property
    def sub_scales_at(self) -> int:
        """Byte offset of the sub-scales in a unit."""
        return 2 * PANEL_ROWS * (2 if self.has_minimum else 1)

    @property
    def sub_minimums_at(self) -> int:
        return self.sub_scales_at + PANEL_ROWS * self.num_sub_blocks

    @property
    def planes_at(self) -> int:
        return self.sub_scales_at + PANEL_ROWS * self.num_sub_blocks * self.num_sub_rows

    def plane_at(self, place: int) -> int:
        """Byte offset of a plane in a unit's first block."""
        return self.planes_at + 64 * sum(self.planes[:place])

    @property
    def block_bytes(self) -> int:
        """Bytes of the planes of one block: 64 a bit."""
        return 64 * sum(self.planes)

    @property
    def unit_bytes(self) -> int:
        return self.planes_at + self.blocks * self.block_bytes


_IQ4_TABLE = (1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241)
_FP4_TABLE = (12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0)

PANEL_FORMATS: dict[QuantType, PanelFormat] = {
    QuantType.Q4_0: PanelFormat(planes=(4,), offset=8),
    QuantType.Q4_1: PanelFormat(planes=(4,), has_minimum=True),
    QuantType.Q5_0: PanelFormat(planes=(4, 1), offset=16),
    QuantType.Q5_1: PanelFormat(planes=(4, 1), has_minimum=True),
    QuantType.Q8_0: PanelFormat(planes=(8,), offset=128),
    QuantType.IQ4_NL: PanelFormat(planes=(4,), table=_IQ4_TABLE, offset=128),
    QuantType.MXFP4: PanelFormat(planes=(4,), table=_FP4_TABLE, offset=12, scale_dtype="bf16"),
    QuantType.Q2_K: PanelFormat(
        planes=(2,), unit_columns=256, sub_block=16, sub_scale="u4", has_minimum=True
    ),
    QuantType.Q3_K: PanelFormat(
        planes=(2, 1), unit_columns=256, sub_block=16, sub_scale="i8", offset=4
    ),
    QuantType.Q4_K: PanelFormat(planes=(4,), unit_columns=256, sub_scale="u8", has_minimum=True),
    QuantType.Q5_K: PanelFormat(planes=(4, 1), unit_columns=256, sub_scale="u8", has_minimum=True),
    QuantType.Q6_K: PanelFormat(
        planes=(4, 2), unit_columns=256, sub_block=16, sub_scale="i8", offset=32
    ),
    QuantType.IQ4_XS: PanelFormat(
        planes=(4,), unit_columns=256, sub_scale="i8", table=_IQ4_TABLE, offset=128
    ),
}

FLOAT_DTYPES = {QuantType.F32: "f32", QuantType.F16: "f16", QuantType.BF16: "bf16"}
