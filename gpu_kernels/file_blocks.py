"""Takes the quantised blocks of a file apart into integers, on the device; nothing is rounded.

Layouts: the docstrings of `slipstream.cpu_kernels.reference.dequantize`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from slipstream.cpu_kernels import QuantType


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What the B blocks of a matrix's rows hold; `None` where a format has no such part.

    codes        : (B, block_columns) uint8, unsigned
    scale        : (B,) float16, or int16: the bits of bfloat16
    minimum      : (B,) float16
    sub_scales   : (B, sub-blocks) uint8 or int8; of Q2_K with the minimum in the upper four bits
    sub_minimums : (B, sub-blocks) uint8
    """

    codes: torch.Tensor
    scale: torch.Tensor
    minimum: torch.Tensor | None = None
    sub_scales: torch.Tensor | None = None
    sub_minimums: torch.Tensor | None = None


def take_apart(blocks: torch.Tensor, quant_type: QuantType) -> Units:
    """blocks : (B, block_bytes) uint8, of a quantised type."""
    return _READERS[quant_type](blocks)


def _unpacked(packed: torch.Tensor, bits: int, run: int) -> torch.Tensor:
    """Small numbers out of bytes: uint8 (B, num_bytes * 8 / bits).

    Every `run` bytes hold 8 / bits runs of `run` numbers. The first run is in the lowest bits of
    those bytes, in order; the next in the bits above.
    """
    num_blocks, num_bytes = packed.shape
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
    runs = packed.reshape(num_blocks, num_bytes // run, 1, run)
    return ((runs >> shifts[:, None]) & (2**bits - 1)).reshape(num_blocks, num_bytes * 8 // bits)


def _half(blocks: torch.Tensor, start: int) -> torch.Tensor:
    """The float16 at byte `start` of every block."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).reshape(-1)


def _less_32(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.view(torch.int8) - 32


def _nibbles(blocks: torch.Tensor, at: int) -> torch.Tensor:
    return _unpacked(blocks[:, at : at + 16], 4, 16)


def _fifth_bits(blocks: torch.Tensor, at: int) -> torch.Tensor:
    return _unpacked(blocks[:, at : at + 4], 1, 1) << 4


def _q4_0(blocks: torch.Tensor) -> Units:
    return Units(codes=_nibbles(blocks, 2), scale=_half(blocks, 0))


def _q4_1(blocks: torch.Tensor) -> Units:
    return Units(codes=_nibbles(blocks, 4), scale=_half(blocks, 0), minimum=_half(blocks, 2))


def _q5_0(blocks: torch.Tensor) -> Units:
    return Units(codes=_nibbles(blocks, 6) | _fifth_bits(blocks, 2), scale=_half(blocks, 0))


def _q5_1(blocks: torch.Tensor) -> Units:
    codes = _nibbles(blocks, 8) | _fifth_bits(blocks, 4)
    return Units(codes=codes, scale=_half(blocks, 0), minimum=_half(blocks, 2))


def _q8_0(blocks: torch.Tensor) -> Units:
    return Units(codes=blocks[:, 2:34] ^ 128, scale=_half(blocks, 0))


def _mxfp4(blocks: torch.Tensor) -> Units:
    """The scale 2**(e - 128) is exact in bfloat16, subnormals included."""
    exponent = blocks[:, 0].to(torch.int16)
    small = torch.where(exponent == 1, 0x40, 0x20)
    scale = torch.where(exponent >= 2, (exponent - 1) << 7, small).to(torch.int16)
    return Units(codes=_nibbles(blocks, 1), scale=scale)


def _q2_k(blocks: torch.Tensor) -> Units:
    return Units(
        codes=_unpacked(blocks[:, 16:80], 2, 32),
        scale=_half(blocks, 80),
        minimum=_half(blocks, 82),
        sub_scales=blocks[:, 0:16],
    )


def _q3_k(blocks: torch.Tensor) -> Units:
    scales = _unpacked(blocks[:, 96:104], 4, 8) | _unpacked(blocks[:, 104:108], 2, 4) << 4
    return Units(
        codes=_unpacked(blocks[:, 32:96], 2, 32) | _unpacked(blocks[:, 0:32], 1, 32) << 2,
        scale=_half(blocks, 108),
        sub_scales=_less_32(scales),
    )


def _q4_k(blocks: torch.Tensor) -> Units:
    scales, minimums = _scales_and_minimums(blocks)
    return Units(
        codes=_unpacked(blocks[:, 16:144], 4, 32),
        scale=_half(blocks, 0),
        minimum=_half(blocks, 2),
        sub_scales=scales,
        sub_minimums=minimums,
    )


def _q5_k(blocks: torch.Tensor) -> Units:
    scales, minimums = _scales_and_minimums(blocks)
    return Units(
        codes=_unpacked(blocks[:, 48:176], 4, 32) | _unpacked(blocks[:, 16:48], 1, 32) << 4,
        scale=_half(blocks, 0),
        minimum=_half(blocks, 2),
        sub_scales=scales,
        sub_minimums=minimums,
    )


def _scales_and_minimums(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The 6-bit scale and minimum of each 32 columns of Q4_K and Q5_K, (B, 8) each."""
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.hstack([first & 63, (third & 15) | (first >> 6 << 4)])
    minimums = torch.hstack([second & 63, (third >> 4) | (second >> 6 << 4)])
    return scales, minimums


def _q6_k(blocks: torch.Tensor) -> Units:
    return Units(
        codes=_unpacked(blocks[:, 0:128], 4, 64) | _unpacked(blocks[:, 128:192], 2, 32) << 4,
        scale=_half(blocks, 208),
        sub_scales=blocks[:, 192:208].contiguous().view(torch.int8),
    )


def _iq4_xs(blocks: torch.Tensor) -> Units:
    scales = _unpacked(blocks[:, 4:8], 4, 1) | _unpacked(blocks[:, 2:4], 2, 1) << 4
    return Units(
        codes=_unpacked(blocks[:, 8:136], 4, 16),
        scale=_half(blocks, 0),
        sub_scales=_less_32(scales),
    )


_READERS: dict[QuantType, Callable[[torch.Tensor], Units]] = {
    QuantType.Q4_0: _q4_0,
    QuantType.Q4_1: _q4_1,
    QuantType.Q5_0: _q5_0,
    QuantType.Q5_1: _q5_1,
    QuantType.Q8_0: _q8_0,
    QuantType.Q2_K: _q2_k,
    QuantType.Q3_K: _q3_k,
    QuantType.Q4_K: _q4_k,
    QuantType.Q5_K: _q5_k,
    QuantType.Q6_K: _q6_k,
    QuantType.IQ4_NL: _q4_0,  # the same places; the codes stand for other numbers
    QuantType.IQ4_XS: _iq4_xs,
    QuantType.MXFP4: _mxfp4,
}
