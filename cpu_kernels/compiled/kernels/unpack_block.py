"""Takes one block of a file's quantised row apart into integers; nothing is rounded.

Each function reads a block at byte `at` of a row and writes
    q      : (block_columns,) uint8, the unsigned quants, in column order
    scales : (2,) uint16, the bits of the file's scale and minimum (0 where there is none)
    subs   : (2, 16) uint8, sub-block scales and minimums (int8 bits where they are signed)
Layouts: the docstrings of `slipstream.cpu_kernels.reference.dequantize`.
"""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import overload, register_jitable


@register_jitable
def _u16(row, at):
    return row[at] | (row[at + 1] << 8)


@register_jitable
def _nibbles(row, at, q):
    """16 bytes: columns 0-15 in the low nibbles, 16-31 in the high ones."""
    for j in range(16):
        q[j] = row[at + j] & 15
        q[j + 16] = row[at + j] >> 4


@register_jitable
def _fifth_bits(row, at, q):
    """32 bits, least significant first: bit 4 of each column."""
    for j in range(32):
        q[j] |= ((row[at + j // 8] >> (j % 8)) & 1) << 4


@register_jitable
def _scales_6bit(row, at, subs):
    """12 bytes: eight 6-bit scales and eight 6-bit minimums (Q4_K, Q5_K)."""
    for j in range(4):
        subs[0, j] = row[at + j] & 63
        subs[1, j] = row[at + j + 4] & 63
        subs[0, j + 4] = (row[at + j + 8] & 15) | ((row[at + j] >> 6) << 4)
        subs[1, j + 4] = (row[at + j + 8] >> 4) | ((row[at + j + 4] >> 6) << 4)


def _q4_0(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    _nibbles(row, at + 2, q)


def _q4_1(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    scales[1] = _u16(row, at + 2)
    _nibbles(row, at + 4, q)


def _q5_0(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    _nibbles(row, at + 6, q)
    _fifth_bits(row, at + 2, q)


def _q5_1(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    scales[1] = _u16(row, at + 2)
    _nibbles(row, at + 8, q)
    _fifth_bits(row, at + 4, q)


def _q8_0(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    for j in range(32):
        q[j] = row[at + 2 + j] ^ 0x80


def _mxfp4(row, at, q, scales, subs):
    """The scale 2**(e - 128) is exact in bfloat16, subnormals included."""
    e = row[at]
    scales[0] = (e - 1) << 7 if e >= 2 else 0x20 << e
    _nibbles(row, at + 1, q)


def _q2_k(row, at, q, scales, subs):
    for j in range(16):
        subs[0, j] = row[at + j]
    for half in range(2):
        for j in range(4):
            for i in range(32):
                q[128 * half + 32 * j + i] = (row[at + 16 + 32 * half + i] >> (2 * j)) & 3
    scales[0] = _u16(row, at + 80)
    scales[1] = _u16(row, at + 82)


def _q3_k(row, at, q, scales, subs):
    for half in range(2):
        for j in range(4):
            for i in range(32):
                low = (row[at + 32 + 32 * half + i] >> (2 * j)) & 3
                high = (row[at + i] >> (4 * half + j)) & 1
                q[128 * half + 32 * j + i] = low | (high << 2)
    for j in range(16):
        low = (row[at + 96 + j % 8] >> (4 * (j // 8))) & 15
        high = (row[at + 104 + j % 4] >> (2 * (j // 4))) & 3
        subs[0, j] = (low | (high << 4)) - 32
    scales[0] = _u16(row, at + 108)


def _q4_k(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    scales[1] = _u16(row, at + 2)
    _scales_6bit(row, at + 4, subs)
    for j in range(4):
        for i in range(32):
            q[64 * j + i] = row[at + 16 + 32 * j + i] & 15
            q[64 * j + 32 + i] = row[at + 16 + 32 * j + i] >> 4


def _q5_k(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    scales[1] = _u16(row, at + 2)
    _scales_6bit(row, at + 4, subs)
    for j in range(4):
        for i in range(32):
            bits = row[at + 16 + i] >> (2 * j)
            low = row[at + 48 + 32 * j + i]
            q[64 * j + i] = (low & 15) | ((bits & 1) << 4)
            q[64 * j + 32 + i] = (low >> 4) | ((bits & 2) << 3)


def _q6_k(row, at, q, scales, subs):
    for half in range(2):
        for j in range(4):
            for i in range(32):
                low = row[at + 64 * half + 32 * (j % 2) + i] >> (4 * (j // 2))
                high = row[at + 128 + 32 * half + i] >> (2 * j)
                q[128 * half + 32 * j + i] = (low & 15) | ((high & 3) << 4)
    for j in range(16):
        subs[0, j] = row[at + 192 + j]
    scales[0] = _u16(row, at + 208)


def _iq4_xs(row, at, q, scales, subs):
    scales[0] = _u16(row, at)
    for j in range(8):
        low = (row[at + 4 + j // 2] >> (4 * (j % 2))) & 15
        high = (row[at + 2 + j // 4] >> (2 * (j % 4))) & 3
        subs[0, j] = (low | (high << 4)) - 32
        _nibbles(row, at + 8 + 16 * j, q[32 * j :])


_UNPACKERS: dict[str, Callable[..., None]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "IQ4_NL": _q4_0,
    "MXFP4": _mxfp4,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_XS": _iq4_xs,
}


def unpack_block(quant_type: str, row: Any, at: int, q: Any, scales: Any, subs: Any) -> None:
    """Take the block at byte `at` of `row` apart; `quant_type` is a literal."""
    raise NotImplementedError("unpack_block is called from compiled code only")


@overload(unpack_block, prefer_literal=True)
def _unpack_block(quant_type, row, at, q, scales, subs):
    if not isinstance(quant_type, types.StringLiteral):
        return None
    unpack = register_jitable(_UNPACKERS[quant_type.literal_value])

    def call(quant_type, row, at, q, scales, subs):
        unpack(row, at, q, scales, subs)

    return call
