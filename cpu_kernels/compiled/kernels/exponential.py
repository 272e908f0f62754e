"""exp for float32 in a form that LLVM turns into vector instructions."""

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import bits_to_float32, round_f32, to_int32
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.693359375  # exact in 9 bits: n * LN2_HIGH is exact
LN2_LOW = -2.12194440e-4
LOWEST = -87.0  # exp(-87) is the last normal float32
HIGHEST = 88.0
POLYNOMIAL = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2)  # of r**6 to r**2 in Taylor's exp(r)

_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(LOG2_E), np.float32(LN2_HIGH), np.float32(LN2_LOW)
_LOWEST, _HIGHEST = np.float32(LOWEST), np.float32(HIGHEST)
_P6, _P5, _P4, _P3, _P2 = (np.float32(each) for each in POLYNOMIAL)


@kernel(fastmath={"contract", "nsz"}, inline="always")
def exp_f32(x):
    """exp(x) within 2 units in the last place; x is clamped to [-87, 88], NaN to -87.

    exp(x) = 2**n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2.
    """
    x = x if x > _LOWEST else _LOWEST
    x = x if x < _HIGHEST else _HIGHEST
    n = round_f32(x * _LOG2_E)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = (((_P6 * r + _P5) * r + _P4) * r + _P3) * r + _P2
    p = p * r * r + r + np.float32(1.0)
    return p * bits_to_float32((to_int32(n) + np.int32(127)) << np.int32(23))
