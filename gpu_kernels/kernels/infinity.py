"""The infinities and NaN that kernels name: of globals, compiled code reads constants alone."""

import triton.language as tl

INFINITY = tl.constexpr(float("inf"))
MINUS_INFINITY = tl.constexpr(float("-inf"))
NAN = tl.constexpr(float("nan"))
