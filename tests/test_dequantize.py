"""Reference dequantisation against the `gguf` package, on random blocks of every type."""

import gguf
import numpy as np
import pytest

from slipstream.cpu_kernels.errors import ShapeError
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.reference.dequantize import dequantize
from support.random_blocks import random_rows

FOUR_BIT_CODES = {  # where the bytes with two codes each begin and end in a block
    QuantType.Q4_0: (2, 18),
    QuantType.Q4_1: (4, 20),
    QuantType.Q5_0: (6, 22),
    QuantType.Q5_1: (8, 24),
    QuantType.Q4_K: (16, 144),
    QuantType.Q5_K: (48, 176),
    QuantType.Q6_K: (0, 128),
    QuantType.IQ4_NL: (2, 18),
    QuantType.IQ4_XS: (8, 136),
    QuantType.MXFP4: (1, 17),
}


def oracle(raw: np.ndarray, quant_type: QuantType) -> np.ndarray:
    return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(quant_type.value))


@pytest.mark.parametrize("quant_type", QuantType)
def test_table_matches_gguf(quant_type: QuantType) -> None:
    ggml_type = gguf.GGMLQuantizationType(quant_type.value)
    assert ggml_type.name == quant_type.name
    assert gguf.GGML_QUANT_SIZES[ggml_type] == (quant_type.block_columns, quant_type.block_bytes)
    assert QuantType.from_id(quant_type.value) is quant_type


def test_unknown_id_and_ragged_row_are_refused() -> None:
    with pytest.raises(ValueError, match="id 19"):
        QuantType.from_id(19)
    with pytest.raises(ShapeError, match="288 columns"):
        QuantType.Q4_K.row_bytes(288)


@pytest.mark.parametrize("quant_type", QuantType)
@pytest.mark.parametrize(("rows", "columns"), [(1, 256), (7, 512), (33, 768)])
def test_float32_is_bit_equal_to_gguf(quant_type: QuantType, rows: int, columns: int) -> None:
    raw = random_rows(quant_type, rows, columns, np.random.default_rng(rows))
    values = dequantize(raw, quant_type)
    assert values.dtype == np.float32
    assert values.shape == (rows, columns)
    np.testing.assert_array_equal(values, oracle(raw, quant_type))


@pytest.mark.parametrize("quant_type", QuantType)
def test_no_rows(quant_type: QuantType) -> None:
    raw = np.zeros((0, quant_type.row_bytes(512)), np.uint8)
    assert dequantize(raw, quant_type).shape == (0, 512)


@pytest.mark.parametrize("quant_type", QuantType)
def test_float64_differs_only_by_float32_rounding(quant_type: QuantType) -> None:
    raw = random_rows(quant_type, 9, 512, np.random.default_rng(1))
    exact, rounded = dequantize(raw, quant_type, np.float64), dequantize(raw, quant_type)
    assert exact.dtype == np.float64
    # Three roundings of half a unit in the last place of the largest term (scale or minimum part).
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=4 * 2.0**-24 * np.abs(exact).max())


@pytest.mark.parametrize("quant_type", QuantType)
def test_float64_is_exact_where_float32_is(quant_type: QuantType) -> None:
    rng = np.random.default_rng(2)
    raw = random_rows(quant_type, 3, 256, rng, std=1.0)
    _make_scales_powers_of_two(raw, quant_type)
    np.testing.assert_array_equal(
        dequantize(raw, quant_type, np.float64), oracle(raw, quant_type).astype(np.float64)
    )


def _make_scales_powers_of_two(raw: np.ndarray, quant_type: QuantType) -> None:
    blocks = raw.reshape(-1, quant_type.block_bytes)
    scale_at = {
        QuantType.Q4_1: (0, 2),
        QuantType.Q5_1: (0, 2),
        QuantType.Q2_K: (80, 82),
        QuantType.Q3_K: (108,),
        QuantType.Q4_K: (0, 2),
        QuantType.Q5_K: (0, 2),
        QuantType.Q6_K: (208,),
    }
    if quant_type.block_columns > 1 and quant_type is not QuantType.MXFP4:
        for start in scale_at.get(quant_type, (0,)):
            blocks[:, start : start + 2] = np.array([0.125], "<f2").view(np.uint8)


@pytest.mark.parametrize("quant_type", FOUR_BIT_CODES)
def test_a_wrong_nibble_order_is_noticed(quant_type: QuantType) -> None:
    raw = random_rows(quant_type, 3, 256, np.random.default_rng(3))
    swapped = raw.copy().reshape(-1, quant_type.block_bytes)
    start, stop = FOUR_BIT_CODES[quant_type]
    swapped[:, start:stop] = swapped[:, start:stop] >> 4 | swapped[:, start:stop] << 4
    values = dequantize(swapped.reshape(raw.shape), quant_type)
    assert (values != oracle(raw, quant_type)).mean() > 0.5


def test_known_block_by_hand() -> None:
    """Q4_0, scale 2, codes 0x10 0x32 ...: columns 0.. are the low halves, 16.. the high halves."""
    raw = np.zeros((1, 18), np.uint8)
    raw[0, :2] = np.array([2.0], "<f2").view(np.uint8)
    raw[0, 2:] = np.arange(0, 16) | np.arange(15, -1, -1) << 4
    want = np.concatenate([2.0 * (np.arange(16) - 8), 2.0 * (np.arange(15, -1, -1) - 8)])
    np.testing.assert_array_equal(dequantize(raw, QuantType.Q4_0)[0], want)


def test_extreme_mxfp4_exponents() -> None:
    raw = np.full((2, 17), 0x11, np.uint8)  # code 1 is 0.5
    raw[:, 0] = [0, 254]
    values = dequantize(raw, QuantType.MXFP4, np.float64)
    np.testing.assert_array_equal(values[:, 0], [2.0**-128, 2.0**126])
    np.testing.assert_array_equal(dequantize(raw, QuantType.MXFP4)[:, 0], [2.0**-128, 2.0**126])


def test_rows_cut_from_a_wider_array() -> None:
    raw = random_rows(QuantType.Q4_K, 6, 512, np.random.default_rng(4))
    odd_rows = raw[1::2]
    np.testing.assert_array_equal(
        dequantize(odd_rows, QuantType.Q4_K), dequantize(raw, QuantType.Q4_K)[1::2]
    )


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((2, 35), np.uint8),
        np.zeros(34, np.uint8),
        np.zeros((2, 34), np.int8),
        np.zeros((1, 2, 34), np.uint8),
    ],
)
def test_wrong_arrays_are_refused(raw: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="Q8_0 rows must be uint8"):
        dequantize(raw, QuantType.Q8_0)


def test_other_float_types_are_refused() -> None:
    with pytest.raises(ShapeError, match="float32 or float64"):
        dequantize(np.zeros((1, 34), np.uint8), QuantType.Q8_0, np.float16)
