"""Float32 numbers as two float16 numbers, which matrix units multiply.

high + low is x to 22 bits, where x is scaled so that it neither overflows float16 (65,504) nor has
its larger numbers among float16's smallest ones (multiples of 2**-24).
"""

import triton
import triton.language as tl


@triton.jit
def halves(x):
    """x float32, |x| < 65,504, as (high, low), both float16."""
    high = x.to(tl.float16)
    return high, (x - high.to(tl.float32)).to(tl.float16)


@triton.jit
def power_of_two_below(x):
    """The power of two in (x / 2, x], from 2**-100 to 2**100, float32; x >= 0 or not finite."""
    exponent = (x.to(tl.int32, bitcast=True) >> 23) & 255
    exponent = tl.minimum(tl.maximum(exponent, 27), 227)
    return (exponent << 23).to(tl.float32, bitcast=True)


@triton.jit
def inverse_power(power):
    """1 / power, exactly, of what `power_of_two_below` gives."""
    return ((254 << 23) - power.to(tl.int32, bitcast=True)).to(tl.float32, bitcast=True)
