"""From the stored bytes of a weight matrix to its numbers: the definition of every block format.

Each `_from_<type>` function takes whole blocks, uint8 (N, block_bytes), and gives their values,
(N, block_columns), in the wanted float type. Its docstring is the layout of one block: first byte
.. last byte, then what is there. Numbers of several bytes are little-endian. `d` is the scale of a
block, `dmin` the scale of its minimums; both are float16.

Source: the GGUF tensor formats as ggml defines them; MXFP4 also OCP Microscaling Formats (MX) v1.0.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from slipstream.cpu_kernels.errors import ShapeError
from slipstream.cpu_kernels.quant_types import QuantType

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating]
FloatType = type[np.float32] | type[np.float64]

# What the 16 codes of the IQ4 formats stand for.
IQ4_VALUES = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8
)
# What the 16 codes of MXFP4 (FP4 E2M1) stand for, times two so that all are whole.
MXFP4_VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)


def dequantize(raw: Bytes, quant_type: QuantType, dtype: FloatType = np.float32) -> Floats:
    """The values of stored rows: (rows, columns) of `dtype`, C-contiguous.

    raw   : (rows, row_bytes) uint8, row_bytes a whole number of blocks
    dtype : float32 multiplies and rounds in ggml's order. float64 is exact: a float16 times two
            small integers is a multiple of 2**-24 below 2**28, so even sums fit in its 53 bits.
    Raises ShapeError for any other dtype, type of array or length of row.
    """
    if raw.ndim != 2 or raw.dtype != np.uint8 or raw.shape[1] % quant_type.block_bytes:
        raise ShapeError(
            f"{quant_type.name} rows must be uint8 (rows, n * {quant_type.block_bytes}), "
            f"got {raw.dtype} {raw.shape}"
        )
    if dtype not in (np.float32, np.float64):
        raise ShapeError(f"dtype must be float32 or float64, got {dtype}")
    columns = raw.shape[1] // quant_type.block_bytes * quant_type.block_columns
    blocks = np.ascontiguousarray(raw).reshape(-1, quant_type.block_bytes)
    return _DECODERS[quant_type](blocks, dtype).reshape(raw.shape[0], columns)


def _unpack(packed: Bytes, bits: int, run: int) -> NDArray[np.int8]:
    """Small numbers out of bytes: int8 (N, num_bytes * 8 / bits).

    Every `run` bytes hold 8 / bits runs of `run` numbers. The first run is in the lowest bits of
    those bytes, in order; the next in the bits above.
    """
    num_blocks, num_bytes = packed.shape
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    runs = packed.reshape(num_blocks, num_bytes // run, 1, run)
    numbers: Bytes = (runs >> shifts) & (2**bits - 1)
    return numbers.reshape(num_blocks, num_bytes * 8 // bits).view(np.int8)


def _half(blocks: Bytes, start: int, dtype: FloatType) -> Floats:
    """The float16 at byte `start` of every block: (N, 1)."""
    return blocks[:, start : start + 2].view("<f2").astype(dtype)


def _spread(per_group: Floats) -> Floats:
    """The number of each group of columns, repeated for its columns: (N, G) to (N, 256)."""
    return np.repeat(per_group, 256 // per_group.shape[1], axis=1)


def _from_f32(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..3 the value."""
    return blocks.view("<f4").astype(dtype)


def _from_f16(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 the value."""
    return blocks.view("<f2").astype(dtype)


def _from_bf16(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 the upper half of a float32."""
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(dtype)


def _from_q4_0(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..17 q, 4 bits, columns 0..15 in the low halves. value = d (q - 8)."""
    return _half(blocks, 0, dtype) * (_unpack(blocks[:, 2:18], 4, 16) - 8)


def _from_q4_1(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..3 minimum m (float16); 4..19 q as in Q4_0. value = d q + m."""
    return _half(blocks, 0, dtype) * _unpack(blocks[:, 4:20], 4, 16) + _half(blocks, 2, dtype)


def _from_q5_0(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..5 bit 4 of q, bit i for column i; 6..21 bits 0..3 as in Q4_0.

    value = d (q - 16).
    """
    quants = _unpack(blocks[:, 6:22], 4, 16) + 16 * _unpack(blocks[:, 2:6], 1, 1)
    return _half(blocks, 0, dtype) * (quants - 16)


def _from_q5_1(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..3 minimum m (float16); 4..7 and 8..23 q as in Q5_0. value = d q + m."""
    quants = _unpack(blocks[:, 8:24], 4, 16) + 16 * _unpack(blocks[:, 4:8], 1, 1)
    return _half(blocks, 0, dtype) * quants + _half(blocks, 2, dtype)


def _from_q8_0(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..33 q, int8. value = d q."""
    return _half(blocks, 0, dtype) * blocks[:, 2:34].view(np.int8)


def _from_q2_k(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..15 scale (low 4 bits) and minimum (high) of each 16 columns; 16..79 q, 2 bits, in runs of
    32; 80..81 d; 82..83 dmin. value = d scale q - dmin minimum.
    """
    scales = _half(blocks, 80, dtype) * (blocks[:, 0:16] & 15)
    minimums = _half(blocks, 82, dtype) * (blocks[:, 0:16] >> 4)
    return _spread(scales) * _unpack(blocks[:, 16:80], 2, 32) - _spread(minimums)


def _from_q3_k(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..31 bit 2 of q, in runs of 32; 32..95 bits 0..1, in runs of 32; 96..103 bits 0..3 of the
    scale of each 16 columns, in one run of 8; 104..107 its bits 4..5, in one run of 4; 108..109 d.
    value = d (scale - 32) (q - 4).
    """
    quants = _unpack(blocks[:, 32:96], 2, 32) + 4 * _unpack(blocks[:, 0:32], 1, 32)
    scales = _unpack(blocks[:, 96:104], 4, 8) + 16 * _unpack(blocks[:, 104:108], 2, 4)
    return _spread(_half(blocks, 108, dtype) * (scales - 32)) * (quants - 4)


def _from_q4_k(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..3 dmin; 4..15 scales and minimums (see `_scales_and_minimums`); 16..143 q, 4 bits,
    in runs of 32. value = d scale q - dmin minimum.
    """
    scales, minimums = _scales_and_minimums(blocks, dtype)
    return _spread(scales) * _unpack(blocks[:, 16:144], 4, 32) - _spread(minimums)


def _from_q5_k(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..15 as in Q4_K; 16..47 bit 4 of q, in runs of 32; 48..175 bits 0..3, in runs of 32.

    value = d scale q - dmin minimum.
    """
    scales, minimums = _scales_and_minimums(blocks, dtype)
    quants = _unpack(blocks[:, 48:176], 4, 32) + 16 * _unpack(blocks[:, 16:48], 1, 32)
    return _spread(scales) * quants - _spread(minimums)


def _scales_and_minimums(blocks: Bytes, dtype: FloatType) -> tuple[Floats, Floats]:
    """The scale and the minimum of each 32 columns of Q4_K and Q5_K, times d and dmin: (N, 8) each.

    Both are 6-bit numbers in bytes 4..15 of the block, here called 0..11. Scales 0..3 are the low
    6 bits of bytes 0..3, minimums 0..3 of bytes 4..7. Scales 4..7 have their bits 0..3 in the low
    halves of bytes 8..11 and bits 4..5 in the top of bytes 0..3; minimums 4..7 in the high halves
    of bytes 8..11 and the top of bytes 4..7.
    """
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.hstack([first & 63, (third & 15) | (first >> 6 << 4)])
    minimums = np.hstack([second & 63, (third >> 4) | (second >> 6 << 4)])
    return _half(blocks, 0, dtype) * scales, _half(blocks, 2, dtype) * minimums


def _from_q6_k(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..127 bits 0..3 of q, in runs of 64; 128..191 bits 4..5, in runs of 32; 192..207 scale of
    each 16 columns, int8; 208..209 d. value = d scale (q - 32).
    """
    quants = _unpack(blocks[:, 0:128], 4, 64) + 16 * _unpack(blocks[:, 128:192], 2, 32)
    scales = _half(blocks, 208, dtype) * blocks[:, 192:208].view(np.int8)
    return _spread(scales) * (quants - 32)


def _from_iq4_nl(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..17 code, 4 bits, as in Q4_0. value = d IQ4_VALUES[code]."""
    return _half(blocks, 0, dtype) * IQ4_VALUES[_unpack(blocks[:, 2:18], 4, 16)]


def _from_iq4_xs(blocks: Bytes, dtype: FloatType) -> Floats:
    """0..1 d; 2..3 bits 4..5 of the scale of each 32 columns, lowest first; 4..7 its bits 0..3,
    lowest first; 8..135 code, 4 bits, in runs of 16. value = d (scale - 32) IQ4_VALUES[code].
    """
    scales = _unpack(blocks[:, 4:8], 4, 1) + 16 * _unpack(blocks[:, 2:4], 2, 1)
    codes = _unpack(blocks[:, 8:136], 4, 16)
    return _spread(_half(blocks, 0, dtype) * (scales - 32)) * IQ4_VALUES[codes]


def _from_mxfp4(blocks: Bytes, dtype: FloatType) -> Floats:
    """0 exponent e; 1..16 code, 4 bits, as in Q4_0. value = 2**(e - 127) MXFP4_VALUES[code] / 2."""
    scales = np.ldexp(dtype(1), blocks[:, 0:1].astype(np.int32) - 128)
    return scales * MXFP4_VALUES[_unpack(blocks[:, 1:17], 4, 16)]


_DECODERS: dict[QuantType, Callable[[Bytes, FloatType], Floats]] = {
    QuantType.F32: _from_f32,
    QuantType.F16: _from_f16,
    QuantType.BF16: _from_bf16,
    QuantType.Q4_0: _from_q4_0,
    QuantType.Q4_1: _from_q4_1,
    QuantType.Q5_0: _from_q5_0,
    QuantType.Q5_1: _from_q5_1,
    QuantType.Q8_0: _from_q8_0,
    QuantType.Q2_K: _from_q2_k,
    QuantType.Q3_K: _from_q3_k,
    QuantType.Q4_K: _from_q4_k,
    QuantType.Q5_K: _from_q5_k,
    QuantType.Q6_K: _from_q6_k,
    QuantType.IQ4_NL: _from_iq4_nl,
    QuantType.IQ4_XS: _from_iq4_xs,
    QuantType.MXFP4: _from_mxfp4,
}
