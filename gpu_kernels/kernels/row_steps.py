"""What kernels do with the numbers of one row."""

import triton
import triton.language as tl


@triton.jit
def inverse_rms(row, columns, eps, BLOCK: tl.constexpr):
    """1 / sqrt(mean(row**2) + eps) of the float32 numbers from the address `row` on."""
    squares = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, columns, BLOCK):
        at = first + tl.arange(0, BLOCK)
        value = tl.load(row + at, mask=at < columns, other=0.0)
        squares += value * value
    return 1.0 / tl.sqrt_rn(tl.sum(squares) / columns + eps)


@triton.jit
def nearest_even(x):
    """x rounded to a whole number, ties to even; |x| < 2**22, where float32 has quarters left."""
    return (x + 12582912.0) - 12582912.0  # 1.5 * 2**23: its neighbours are whole numbers


@triton.jit
def rounded_to_int8(blocks):
    """Blocks (B, 32) float32 as quants (B, 32) float32, -127 to 127, and scales (B,) float32.

    scale = max|x| / 127, quant = round(x / scale). A block with a number that is not finite has
    the scale NaN and quants of 0.
    """
    largest = tl.max(tl.abs(blocks), axis=1)
    inverse = tl.where(largest > 0, tl.div_rn(127.0, largest), 0.0)
    quants = nearest_even(blocks * inverse[:, None])
    quants = tl.where(tl.abs(quants) <= 127, quants, 0.0)
    nothing = tl.sum(blocks * 0.0, axis=1)  # or NaN
    return quants, tl.div_rn(largest, 127.0) + nothing


@triton.jit
def rounded_to_int4(blocks):
    """Blocks (B, 32) float32 as quants (B, 32) float32, -8 to 7, and scales (B,) float32.

    scale = extreme / -8, where `extreme` is the first number of largest size, with its sign; quant
    = round(x / scale), cut at 7. A block with a number that is not finite is as in int8.
    """
    k, sizes = tl.arange(0, 32)[None, :], tl.abs(blocks)
    place = tl.min(tl.where(sizes == tl.max(sizes, axis=1)[:, None], k, 32), axis=1)
    extreme = tl.sum(tl.where(k == place[:, None], blocks, 0.0), axis=1)
    inverse = tl.where(extreme != 0, tl.div_rn(-8.0, extreme), 0.0)
    quants = nearest_even(blocks * inverse[:, None])
    quants = tl.where(tl.abs(quants) <= 8, tl.minimum(quants, 7.0), 0.0)
    is_finite = tl.sum(blocks * 0.0, axis=1) == 0
    return quants, tl.where(is_finite, tl.div_rn(extreme, -8.0), float("nan"))
