"""exp for float32 in a form that LLVM turns into vector instructions."""

import numpy as np

from slipstream.cpu_kernels.compiled.addresses import bits_to_float32
from slipstream.cpu_kernels.compiled.cache import kernel

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)  # exact in 9 bits: n * _LN2_HIGH is exact
_LN2_LOW = np.float32(-2.12194440e-4)
_LOWEST = np.float32(-87.0)  # exp(-87) is the last normal float32
_HIGHEST = np.float32(88.0)


@kernel(fastmath={"contract", "nnan", "ninf", "nsz"}, inline="always")
def exp_f32(x):
    """exp(x) within 2 units in the last place; x is clamped to [-87, 88].

    exp(x) = 2**n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; Taylor's polynomial of degree 6.
    """
    x = min(max(x, _LOWEST), _HIGHEST)
    n = np.rint(x * _LOG2_E)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = np.float32(1.0 / 720.0)
    p = p * r + np.float32(1.0 / 120.0)
    p = p * r + np.float32(1.0 / 24.0)
    p = p * r + np.float32(1.0 / 6.0)
    p = p * r + np.float32(0.5)
    p = p * r * r + r + np.float32(1.0)
    return p * bits_to_float32((np.int32(n) + np.int32(127)) << np.int32(23))
