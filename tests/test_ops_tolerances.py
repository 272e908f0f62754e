"""The limits catch what they are there for: an error of 5 % fails for every op and dtype."""

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, reference
from support.op_tolerances import (
    ATTENTION_ROUNDED,
    LIMITS,
    MATMUL_ROUNDED,
    assert_close,
    assert_pages_close,
    error,
    matmul_limit,
)
from support.random_blocks import random_rows
from support.stored_keys import DTYPES, arrays_of, copied, store, unreadable_pages

SHARE = 0.05


def spoilt(want: np.ndarray) -> list[np.ndarray]:
    """The result with everything 5 % too large or small, and with one number off by 5 % of rms."""
    one = want.copy()
    one.flat[want.size // 2] += SHARE * np.sqrt(np.mean(want.astype(np.float64) ** 2))
    return [want * np.float32(1 + SHARE), want * np.float32(1 - SHARE), one]


@pytest.mark.parametrize("quant_type", QuantType)
def test_five_percent_fail_in_a_product_of_every_dtype(quant_type: QuantType) -> None:
    rng = np.random.default_rng(0)
    columns = 2 * quant_type.block_columns
    raw = random_rows(quant_type, 33, columns, rng)
    weight = reference.pack_weight(raw, quant_type, columns)
    x = rng.standard_normal((5, columns)).astype(np.float32)
    want = reference.matmul(x, weight, out=np.empty((5, 33), np.float32))
    for limit in (matmul_limit(quant_type), MATMUL_ROUNDED):
        assert_close(want, want, limit)
        for got in spoilt(want):
            with pytest.raises(AssertionError, match="error"):
                assert_close(got, want, limit)


@pytest.mark.parametrize("limit", [*LIMITS.values(), ATTENTION_ROUNDED])
def test_five_percent_fail_in_every_op(limit: float) -> None:
    want = np.random.default_rng(0).standard_normal((7, 33)).astype(np.float32)
    for got in spoilt(want):
        with pytest.raises(AssertionError, match="error"):
            assert_close(got, want, limit)


@pytest.mark.parametrize("limit", ["rotate_and_store", "rotate_and_store_normed"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_five_percent_fail_in_stored_pages(dtype: str, limit: str) -> None:
    """Of all numbers or of one, and of keys as of values."""
    rng = np.random.default_rng(0)
    places = np.arange(32) // 16, np.arange(32) % 16
    keys, values = rng.standard_normal((2, 32, 2, 64)).astype(np.float32)
    empty = unreadable_pages(num_pages=2, num_heads=2, head_size=64, page_size=16, dtype=dtype)
    want = copied(empty)
    store(want, keys, values, *places)
    assert_pages_close(copied(want), want, LIMITS[limit])
    for number in (0, 1):
        for bad in spoilt((keys, values)[number]):
            got = copied(empty)
            store(got, *((bad, values) if number == 0 else (keys, bad)), *places)
            with pytest.raises(AssertionError):
                assert_pages_close(got, want, LIMITS[limit])
    for name in arrays_of(want):
        got = copied(want)
        getattr(got, name)[1] = getattr(want, name)[0]
        with pytest.raises(AssertionError, match=name):
            assert_pages_close(got, want, LIMITS[limit])


def test_the_measure_of_error() -> None:
    want = np.array([3.0, -4.0, 0.0, 5.0])
    assert error(np.array([3.0, -4.0, 0.1, 5.0]), want) == pytest.approx(0.1 / np.sqrt(12.5))
    assert error(want * 1e-200, want * 1e-200) == 0
    assert error(want * 1e-38 * 1.1, want * 1e-38) == pytest.approx(0.5 / np.sqrt(12.5))
    assert error(np.zeros(4), np.zeros(4)) == 0
    assert error(np.full(4, 1e-30), np.zeros(4)) == np.inf
    assert error(np.array([3.0, np.nan, 0, 5]), want) == np.inf
    assert error(np.array([3.0, np.inf, 0, 5]), want) == np.inf
    assert error(np.empty((0, 3)), np.empty((0, 3))) == 0
