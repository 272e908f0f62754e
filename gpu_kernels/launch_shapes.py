"""How a product is shared out among the programs of a GPU, and which ways are worth measuring.

All shapes of a quantised product make the same bits. So do those of a float product, where a dot
product is a chain of fused multiply-adds in the order of the columns, as Triton compiles it.
"""

from dataclasses import dataclass, replace

from slipstream.gpu_kernels.device import multiplies_int8

ROW_LIMITS = (1, 4, 8, 16, 64)  # rows of x; up to each of them, and above, all share their shapes
MOST_FEW = 16  # the least that matrix units multiply, so that fewer rows take as long


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchShape:
    """What one program multiplies, and with how much of the GPU.

    block_m, block_n : rows of x and of the weight
    unroll           : most blocks of 32 columns between two turns of the loop over quantised ones,
                       1, 2, 4 or 8, of formats with two scales a block half as many: more let more
                       reads wait together, and take more registers
    num_warps        : of 32 threads
    num_stages       : turns of the loop whose reads are under way together
    split            : a program has one segment of the columns, and the segments' sums are joined
                       after: for matrices of too few rows to keep a large GPU busy
    """

    block_m: int
    block_n: int
    unroll: int = 1
    num_warps: int
    num_stages: int = 3
    split: bool = False


_FEW = (
    LaunchShape(block_m=16, block_n=16, unroll=4, num_warps=1),
    LaunchShape(block_m=16, block_n=16, unroll=2, num_warps=1),
    LaunchShape(block_m=16, block_n=32, unroll=2, num_warps=1),
    LaunchShape(block_m=16, block_n=32, unroll=4, num_warps=2),
    LaunchShape(block_m=16, block_n=64, unroll=4, num_warps=4),
    LaunchShape(block_m=16, block_n=16, unroll=4, num_warps=1, split=True),
    LaunchShape(block_m=16, block_n=32, unroll=2, num_warps=1, split=True),
)
_MANY = (
    LaunchShape(block_m=32, block_n=64, num_warps=8),
    LaunchShape(block_m=64, block_n=64, num_warps=8),
    LaunchShape(block_m=64, block_n=64, num_warps=4),
    LaunchShape(block_m=64, block_n=128, num_warps=8),
    LaunchShape(block_m=128, block_n=64, num_warps=8),
)
# Without matrix units a program's numbers are all in registers.
_FEW_WITHOUT_UNITS = (
    LaunchShape(block_m=16, block_n=64, num_warps=4),
    LaunchShape(block_m=16, block_n=32, num_warps=2),
    LaunchShape(block_m=16, block_n=16, num_warps=1),
    LaunchShape(block_m=16, block_n=32, num_warps=2, split=True),
)
_MANY_WITHOUT_UNITS = (
    LaunchShape(block_m=32, block_n=32, num_warps=4),
    LaunchShape(block_m=32, block_n=64, num_warps=8),
)
_FEW_FLOATS = (
    LaunchShape(block_m=16, block_n=16, num_warps=1),
    LaunchShape(block_m=16, block_n=16, num_warps=2),
    LaunchShape(block_m=16, block_n=64, num_warps=4),
)
_MANY_FLOATS = (
    LaunchShape(block_m=32, block_n=64, num_warps=4),
    LaunchShape(block_m=64, block_n=64, num_warps=8),
    LaunchShape(block_m=64, block_n=32, num_warps=4),
)


def plane_shapes(num_rows: int) -> tuple[LaunchShape, ...]:
    """The shapes to choose from for a quantised product of so many rows."""
    if multiplies_int8():
        return _MANY if num_rows > MOST_FEW else _FEW
    if num_rows > MOST_FEW:
        return _MANY_WITHOUT_UNITS
    return _as_high(_FEW_WITHOUT_UNITS, num_rows)


def float_shapes(num_rows: int) -> tuple[LaunchShape, ...]:
    """The shapes to choose from for a float product of so many rows: never with matrix units."""
    return _MANY_FLOATS if num_rows > MOST_FEW else _as_high(_FEW_FLOATS, num_rows)


def default_shape(shapes: tuple[LaunchShape, ...], num_rows: int) -> LaunchShape:
    """The one for so many rows where nothing was measured."""
    return shapes[1] if num_rows > 2 * MOST_FEW else shapes[0]


def _as_high(shapes: tuple[LaunchShape, ...], num_rows: int) -> tuple[LaunchShape, ...]:
    """The shapes for programs whose work grows with their rows: about as many as there are."""
    block_m = next(limit for limit in ROW_LIMITS if num_rows <= limit)
    return tuple(replace(each, block_m=block_m) for each in shapes)
