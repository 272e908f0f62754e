"""The limits catch what they are there for: an error of 5 % fails for every op and dtype."""

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, reference
from support.op_tolerances import LIMITS, MATMUL_ROUNDED, assert_close, error, matmul_limit
from support.random_blocks import random_rows

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


@pytest.mark.parametrize("op", LIMITS)
def test_five_percent_fail_in_every_op(op: str) -> None:
    want = np.random.default_rng(0).standard_normal((7, 33)).astype(np.float32)
    for got in spoilt(want):
        with pytest.raises(AssertionError, match="error"):
            assert_close(got, want, LIMITS[op])


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
