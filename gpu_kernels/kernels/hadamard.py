"""The Walsh-Hadamard transform of blocks of 32 numbers. See `cpu_kernels.reference.kv_blocks`."""

import triton
import triton.language as tl

from slipstream.cpu_kernels import kv_pages

TO_PAGES = tl.constexpr(kv_pages.TO_PAGES)
FROM_PAGES = tl.constexpr(kv_pages.FROM_PAGES)


@triton.jit
def hadamard(blocks, FACTOR: tl.constexpr):
    """FACTOR * H x for each row x of blocks (B, 32) float32, with the sums of the reference.

    Pairs are always the first and the second 16 of a block. What each gives is put side by side,
    which brings those to be paired next into the two halves; after five times all are in place.
    """
    B: tl.constexpr = blocks.shape[0]
    for _ in tl.static_range(5):
        pairs = tl.permute(tl.reshape(blocks, (B, 2, 16)), (0, 2, 1))
        first, second = tl.split(pairs)
        blocks = tl.reshape(tl.join(first + second, first - second), (B, 32))
    return blocks * FACTOR


@triton.jit
def hadamard_of_heads(heads, FACTOR: tl.constexpr):
    """As `hadamard` for each 32 of all numbers of `heads` in their order, float32, any shape."""
    blocks = tl.reshape(heads, (heads.numel // 32, 32))
    return tl.reshape(hadamard(blocks, FACTOR), heads.shape)
