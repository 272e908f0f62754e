"""Activations as the tile kernels read them.

A step's M rows are cut into tiles of 12, 8, 4, 2 and 1. The rows of a tile of T lie interleaved, so
that a kernel walks them with one pointer. For weights that are quantised, each block of 32 columns
is 12 x T words of 4 bytes:

    int8    [8][T][4]  the activations, 4 columns a word
    float32 [4][T]     scale, scale * sum of the first 16 of them, of the last 16, of all

For weights that are not, it is float32 [C][T]. A tile that begins with row m lies m rows' bytes
from the start, whatever the sizes of the tiles before it.
"""

from slipstream.cpu_kernels.panel_format import BLOCK_COLUMNS, GROUPS

TILE_ROWS = (12, 8, 4, 2, 1)
SCALE, LOW_SUM, HIGH_SUM, SUM = range(GROUPS, GROUPS + 4)  # words of a block
BLOCK_WORDS = SUM + 1
BLOCK_BYTES = 4 * BLOCK_WORDS  # of one row

QUANTISED, FLOAT = 1, 2  # bits: which forms are made


def packed_bytes(num_rows: int, columns: int, forms: int) -> int:
    """Bytes of both forms of `num_rows` rows, the quantised one first."""
    quantised = columns // BLOCK_COLUMNS * BLOCK_BYTES if forms & QUANTISED else 0
    return num_rows * (quantised + (4 * columns if forms & FLOAT else 0))
