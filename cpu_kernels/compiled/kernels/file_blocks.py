"""Takes the quantised blocks of 16 rows of a file apart into integers; nothing is rounded.

A reader is told where the same block of 16 rows lies, and returns what is in it for all of them at
once: a vector has a lane for each row. Layouts: the docstrings of
`slipstream.cpu_kernels.reference.dequantize`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llvmlite import ir

from slipstream.cpu_kernels.compiled.kernels.vector import I32, LANES, Emitter
from slipstream.cpu_kernels.panel_format import GROUPS, PANEL_ROWS
from slipstream.cpu_kernels.quant_types import QuantType

_FOUR_WORDS = ir.VectorType(I32, 4)
Vectors = Sequence[ir.Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What 16 blocks hold, in vectors of int32 with a lane for each row.

    codes  : one for each 4 columns, whose unsigned quants are its bytes
    scale, minimum       : the bits of the file's numbers, 16 each
    scales, minimums     : of sub-blocks, the low 8 bits each
    """

    codes: Vectors
    scale: ir.Value
    minimum: ir.Value | None = None
    scales: Vectors = field(default=())
    minimums: Vectors = field(default=())


class Rows:
    """The bytes of a block in each of 16 rows."""

    def __init__(self, e: Emitter, block: ir.Value, row_bytes: ir.Value) -> None:
        """`block` is the address of the first row's block."""
        self.e = e
        self._starts = [e.address(block, e.times(row_bytes, r)) for r in range(PANEL_ROWS)]

    def words(self, at: int, count: int) -> list[ir.Value]:
        """The `count` words of 4 bytes from byte `at` on; count is 1 or a multiple of 4."""
        if count == 1:
            return [self._word(at)]
        return [word for four in range(0, count, 4) for word in self._four_words(at + 4 * four)]

    def _word(self, at: int) -> ir.Value:
        b = self.e.builder
        vector = self.e.ints(0)
        for lane, start in enumerate(self._starts):
            value = self.e.load(I32, self.e.address(start, at))
            vector = b.insert_element(vector, value, ir.Constant(I32, lane))
        return vector

    def _four_words(self, at: int) -> list[ir.Value]:
        """A transposition: 16 rows of 4 words become 4 words of 16 rows."""
        parts = [self.e.load(_FOUR_WORDS, self.e.address(start, at)) for start in self._starts]
        while len(parts) > 1:
            parts = [
                self._shuffled(one, two, range(2 * one.type.count))
                for one, two in zip(parts[::2], parts[1::2], strict=True)
            ]
        return [self._shuffled(parts[0], parts[0], range(k, 4 * LANES, 4)) for k in range(4)]

    def _shuffled(self, one: ir.Value, two: ir.Value, lanes: Sequence[int]) -> ir.Value:
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return self.e.builder.shuffle_vector(one, two, mask)

    def right(self, value: ir.Value, bits: int) -> ir.Value:
        return self.e.builder.lshr(value, self.e.ints(bits)) if bits else value

    def left(self, value: ir.Value, bits: int) -> ir.Value:
        return self.e.builder.shl(value, self.e.ints(bits)) if bits else value

    def masked(self, value: ir.Value, mask: int) -> ir.Value:
        return self.e.builder.and_(value, self.e.ints(mask))

    def fields(self, value: ir.Value, *, start: int, width: int) -> ir.Value:
        """Bits start .. start + width - 1 of each byte, at the bottom of the byte."""
        return self.masked(self.right(value, start), ((1 << width) - 1) * 0x01010101)

    def joined(self, low: ir.Value, high: ir.Value, width: int) -> ir.Value:
        """In each byte `low`, and `high` above its `width` bits."""
        return self.e.or_(low, self.left(high, width))

    def bytes_of(self, words: Vectors) -> list[ir.Value]:
        """One vector for each byte of the words; only its low 8 bits count."""
        return [self.right(word, 8 * byte) for word in words for byte in range(4)]


def _nibbles(rows: Rows, at: int) -> list[ir.Value]:
    """16 bytes: columns 0-15 in the low nibbles, 16-31 in the high ones."""
    words = rows.words(at, 4)
    return [rows.fields(word, start=start, width=4) for start in (0, 4) for word in words]


def _with_fifth_bits(rows: Rows, codes: Vectors, at: int) -> list[ir.Value]:
    """32 bits, least significant first: bit 4 of each column."""
    bits = rows.words(at, 1)[0]
    spread = rows.e.ints(0x00204081)  # times 4 bits: each at the bottom of a byte
    highs = [
        rows.masked(
            rows.e.builder.mul(rows.masked(rows.right(bits, 4 * g), 15), spread), 0x01010101
        )
        for g in range(GROUPS)
    ]
    return [rows.joined(low, high, 4) for low, high in zip(codes, highs, strict=True)]


def _less_32(rows: Rows, value: ir.Value) -> ir.Value:
    """Each byte, at most 63, less 32, as int8."""
    flipped = rows.e.builder.xor(value, rows.e.ints(0x20202020))
    sign = rows.masked(flipped, 0x20202020)
    return rows.e.or_(flipped, rows.e.builder.mul(sign, rows.e.ints(6)))


def _half(rows: Rows, at: int) -> ir.Value:
    return rows.words(at, 1)[0]


def _last_half(rows: Rows, at: int) -> ir.Value:
    """The number at the block's end, behind which the file may end too."""
    return rows.right(rows.words(at - 2, 1)[0], 16)


def _q4_0(rows: Rows) -> Unit:
    return Unit(codes=_nibbles(rows, 2), scale=_half(rows, 0))


def _q4_1(rows: Rows) -> Unit:
    both = rows.words(0, 1)[0]
    return Unit(codes=_nibbles(rows, 4), scale=both, minimum=rows.right(both, 16))


def _q5_0(rows: Rows) -> Unit:
    return Unit(codes=_with_fifth_bits(rows, _nibbles(rows, 6), 2), scale=_half(rows, 0))


def _q5_1(rows: Rows) -> Unit:
    both = rows.words(0, 1)[0]
    codes = _with_fifth_bits(rows, _nibbles(rows, 8), 4)
    return Unit(codes=codes, scale=both, minimum=rows.right(both, 16))


def _q8_0(rows: Rows) -> Unit:
    flip = rows.e.ints(-0x7F7F7F80)  # 0x80 in each byte
    codes = [rows.e.builder.xor(word, flip) for word in rows.words(2, GROUPS)]
    return Unit(codes=codes, scale=_half(rows, 0))


def _mxfp4(rows: Rows) -> Unit:
    """The scale 2**(e - 128) is exact in bfloat16, subnormals included."""
    b = rows.e.builder
    exponent = rows.masked(rows.words(0, 1)[0], 0xFF)
    usual = rows.left(b.sub(exponent, rows.e.ints(1)), 7)
    small = b.shl(rows.e.ints(0x20), b.and_(exponent, rows.e.ints(1)))
    is_usual = b.icmp_signed(">=", exponent, rows.e.ints(2))
    return Unit(codes=_nibbles(rows, 1), scale=b.select(is_usual, usual, small))


def _two_bits(rows: Rows, at: int) -> list[ir.Value]:
    """64 bytes: in each 128 columns, the 32 columns of quarter j lie in bits 2 j of 32 bytes."""
    words = rows.words(at, 16)
    return [
        rows.fields(word, start=2 * j, width=2)
        for half in (words[:8], words[8:])
        for j in range(4)
        for word in half
    ]


def _q2_k(rows: Rows) -> Unit:
    both = rows.words(80, 1)[0]
    return Unit(
        codes=_two_bits(rows, 16),
        scale=both,
        minimum=rows.right(both, 16),
        scales=rows.bytes_of(rows.words(0, 4)),
    )


def _q3_k(rows: Rows) -> Unit:
    eighths = rows.words(0, 8)
    highs = [rows.fields(word, start=j, width=1) for j in range(8) for word in eighths]
    lows = _two_bits(rows, 32)
    packed = [rows.words(at, 1)[0] for at in (96, 100, 104)]
    scales = [
        rows.joined(
            rows.fields(packed[j % 2], start=4 * (j // 2), width=4),
            rows.fields(packed[2], start=2 * j, width=2),
            4,
        )
        for j in range(4)
    ]
    return Unit(
        codes=[rows.joined(low, high, 2) for low, high in zip(lows, highs, strict=True)],
        scale=_last_half(rows, 108),
        scales=rows.bytes_of([_less_32(rows, each) for each in scales]),
    )


def _k_scales(rows: Rows) -> dict[str, ir.Value | Vectors]:
    """Scale and minimum, then 12 bytes: eight 6-bit scales and eight 6-bit minimums."""
    both, one, two, three = rows.words(0, 4)
    first, later = [], []
    for word, start in ((one, 0), (two, 4)):
        first.append(rows.fields(word, start=0, width=6))
        high = rows.fields(word, start=6, width=2)
        later.append(rows.joined(rows.fields(three, start=start, width=4), high, 4))
    scales, minimums = (rows.bytes_of(words) for words in zip(first, later, strict=True))
    return {
        "scale": both,
        "minimum": rows.right(both, 16),
        "scales": scales,
        "minimums": minimums,
    }


def _paired_nibbles(rows: Rows, at: int) -> list[ir.Value]:
    """128 bytes: of each 64 columns the first 32 lie in the low nibbles of 32 bytes."""
    words = rows.words(at, 32)
    return [
        rows.fields(word, start=start, width=4)
        for first in range(0, 32, 8)
        for start in (0, 4)
        for word in words[first : first + 8]
    ]


def _q4_k(rows: Rows) -> Unit:
    return Unit(codes=_paired_nibbles(rows, 16), **_k_scales(rows))


def _q5_k(rows: Rows) -> Unit:
    fifth = rows.words(16, 8)
    highs = [rows.fields(word, start=j, width=1) for j in range(8) for word in fifth]
    lows = _paired_nibbles(rows, 48)
    codes = [rows.joined(low, high, 4) for low, high in zip(lows, highs, strict=True)]
    return Unit(codes=codes, **_k_scales(rows))


def _q6_k(rows: Rows) -> Unit:
    nibbles, highs = rows.words(0, 32), _two_bits(rows, 128)
    lows = [
        rows.fields(word, start=start, width=4)
        for half in (nibbles[:16], nibbles[16:])
        for start in (0, 4)
        for word in half
    ]
    return Unit(
        codes=[rows.joined(low, high, 4) for low, high in zip(lows, highs, strict=True)],
        scale=_last_half(rows, 208),
        scales=rows.bytes_of(rows.words(192, 4)),
    )


def _iq4_xs(rows: Rows) -> Unit:
    first, lows = rows.words(0, 1)[0], rows.words(4, 1)[0]
    scales = []
    for j in range(8):
        low = rows.masked(rows.right(lows, 4 * j), 15)
        high = rows.masked(rows.right(first, 16 + 2 * j), 3)
        scales.append(rows.e.builder.sub(rows.joined(low, high, 4), rows.e.ints(32)))
    codes = [code for j in range(8) for code in _nibbles(rows, 8 + 16 * j)]
    return Unit(codes=codes, scale=first, scales=scales)


READERS: dict[QuantType, Callable[[Rows], Unit]] = {
    QuantType.Q4_0: _q4_0,
    QuantType.Q4_1: _q4_1,
    QuantType.Q5_0: _q5_0,
    QuantType.Q5_1: _q5_1,
    QuantType.Q8_0: _q8_0,
    QuantType.IQ4_NL: _q4_0,
    QuantType.MXFP4: _mxfp4,
    QuantType.Q2_K: _q2_k,
    QuantType.Q3_K: _q3_k,
    QuantType.Q4_K: _q4_k,
    QuantType.Q5_K: _q5_k,
    QuantType.Q6_K: _q6_k,
    QuantType.IQ4_XS: _iq4_xs,
}
