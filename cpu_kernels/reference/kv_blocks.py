"""How int8 and int4 pages hold numbers: blocks of 32 dimensions of a head that share a scale.

int8 : number = scale * q, q in -127 .. 127, scale = max|x| / 127; llama.cpp's q8_0
int4 : the same of y = H x / 8, with q in -8 .. 7 and scale = extreme / -8, where `extreme` is the
       number of largest size with its sign; llama.cpp's q4_0

H is the Walsh-Hadamard matrix of 32 x 32: H[i, j] is -1 to the number of ones that i and j have in
common, so H H = 32 and x = H y / 4. It spreads a dimension that is far larger than its neighbours
over the block; alone it would take all 4 bits. Source: QuaRot, arXiv:2404.00456, section 3.
Scales are rounded to float16; one that float16 can't hold is NaN.
"""

import numpy as np

from slipstream.cpu_kernels.kv_pages import FROM_PAGES, KV_BLOCK_DIMENSIONS, TO_PAGES

_STEPS = {8: 127, 4: -8}  # what a block's extreme becomes


def hadamard(numbers: np.ndarray, factor: float) -> np.ndarray:
    """factor * H x for each 32 of the last axis; a new array of the same shape and dtype.

    Sums are taken in pairs whose dimensions are 16, 8, 4, 2 and 1 apart, in this order.
    """
    x: np.ndarray = numbers.reshape(numbers.size // KV_BLOCK_DIMENSIONS, KV_BLOCK_DIMENSIONS)
    for apart in (16, 8, 4, 2, 1):
        pairs = x.reshape(len(x), KV_BLOCK_DIMENSIONS // (2 * apart), 2, apart)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        x = np.stack([first + second, first - second], axis=2).reshape(x.shape)
    scaled: np.ndarray = x * x.dtype.type(factor)
    return scaled.reshape(numbers.shape)


def to_blocks(numbers: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(..., D) to its bytes as values have them, (..., D bits / 8), and (..., D / 32) scales.

    int8 is returned signed, int4 as uint8; integers are rounded to nearest, ties to even.
    """
    spread = hadamard(numbers, TO_PAGES) if bits == 4 else numbers
    num_blocks = numbers.shape[-1] // KV_BLOCK_DIMENSIONS
    blocks = spread.reshape(*numbers.shape[:-1], num_blocks, KV_BLOCK_DIMENSIONS)
    where = np.abs(blocks).argmax(axis=-1, keepdims=True)
    extremes = np.take_along_axis(blocks, where, axis=-1)
    extremes = np.abs(extremes) if bits == 8 else extremes
    steps = _STEPS[bits]
    inverses = np.divide(steps, extremes, out=np.zeros_like(extremes), where=extremes != 0)
    quants = np.nan_to_num(np.rint(blocks * inverses))
    quants = quants.clip(-abs(steps), abs(steps) - (bits == 4)).astype(np.int8)
    scales = (extremes[..., 0] / steps).astype(np.float16)
    scales[np.isinf(scales)] = np.nan
    stored = _pack(quants) if bits == 4 else quants
    return stored.reshape(*numbers.shape[:-1], num_blocks * stored.shape[-1]), scales


def from_blocks(stored: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    """What `to_blocks` was given, but for rounding, (..., D) float64."""
    blocks = stored.reshape(*scales.shape, KV_BLOCK_DIMENSIONS * bits // 8)
    quants = _unpack(blocks) if bits == 4 else blocks
    numbers = quants * scales[..., None].astype(np.float64)
    numbers = numbers.reshape(*scales.shape[:-1], scales.shape[-1] * KV_BLOCK_DIMENSIONS)
    return hadamard(numbers, FROM_PAGES) if bits == 4 else numbers


def _pack(quants: np.ndarray) -> np.ndarray:
    """(..., 32) in -8 .. 7 to (..., 16) uint8."""
    low, high = np.split((quants + 8).astype(np.uint8), 2, axis=-1)
    return low | high << 4


def _unpack(blocks: np.ndarray) -> np.ndarray:
    """(..., 16) uint8 to (..., 32) int8."""
    return np.concatenate([blocks & 15, blocks >> 4], axis=-1).astype(np.int8) - np.int8(8)
