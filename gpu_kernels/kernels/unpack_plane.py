"""Brings a plane of a panel from the CPU's places to the GPU's: no bit is lost, none is added."""

import triton
import triton.language as tl


@triton.jit
def unpack_plane(
    panels,
    words,
    num_blocks,
    panel_words,
    unit_words,
    first_word,
    block_words,
    UNIT_BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Program (p, b): blocks b BLOCKS .. of panel p.

    panels : (P, panel_words) int32, see `cpu_kernels.panel_format`; a unit of UNIT_BLOCKS blocks
             has `unit_words` words, its blocks `block_words` each; the plane of the first of them
             begins at `first_word`
    words  : (P, num_blocks, 16, WIDTH) int32, see `gpu_kernels.word_planes`
    A word holds 32 / WIDTH columns of a row in both. On the CPU its byte c has those of which c is
    the remainder by 4, on the GPU all follow one another.
    """
    panel = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    row, word = tl.arange(0, 16), tl.arange(0, WIDTH)
    inside = (block < num_blocks)[:, None, None]
    at = (block // UNIT_BLOCKS) * unit_words + (block % UNIT_BLOCKS) * block_words + first_word
    at = at[:, None, None] + word[None, None, :] * 16 + row[None, :, None]
    taken = tl.load(panels + panel * panel_words + at, mask=inside, other=0)
    if WIDTH < 8:
        put = tl.zeros_like(taken)
        for group in tl.static_range(8 // WIDTH):
            for column in tl.static_range(4):
                bits = (taken >> (8 * column + WIDTH * group)) & ((1 << WIDTH) - 1)
                put |= bits << (WIDTH * (4 * group + column))
        taken = put
    at = (panel * num_blocks + block)[:, None, None] * (16 * WIDTH)
    at += row[None, :, None] * WIDTH + word[None, None, :]
    tl.store(words + at, taken, mask=inside)
