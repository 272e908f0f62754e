"""A gated blend of numbers."""

import triton
import triton.language as tl


@triton.jit
def blend_gated(gate, a, b, out, count, BLOCK: tl.constexpr):
    """Program p: numbers p BLOCK .. of `count` float32 in each; b may be None, which is zeros."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    z = tl.div_rn(1.0, 1.0 + tl.exp(-tl.load(gate + at, mask=inside, other=0.0)))
    value = z * tl.load(a + at, mask=inside, other=0.0)
    if b is not None:
        value += (1.0 - z) * tl.load(b + at, mask=inside, other=0.0)
    tl.store(out + at, value, mask=inside)
