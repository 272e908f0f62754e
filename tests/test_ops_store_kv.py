"""Storing keys and values: every backend does what the reference's docstring says."""

import numpy as np
import pytest

from slipstream.cpu_kernels import ShapeError
from support.op_backends import OTHER_BACKENDS, load_ops

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
PAGE = 16


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_store_kv_rounds_to_float16_and_touches_nothing_else(backend: str) -> None:
    """Nearest even, subnormals kept, beyond 65,504 infinity, as IEEE 754 has it."""
    ops = load_ops(backend)
    rng = np.random.default_rng(0)
    keys = (rng.standard_normal((5, 3, 40)) * 10.0 ** rng.integers(-9, 5, (5, 3, 40))).astype(
        np.float32
    )
    keys[0, 0, :10] = [
        0.0, -0.0, 65504.0, 65519.0, 65520.0, -1e30, 2**-24, 2**-25, 1 + 2**-11, 1 + 3 * 2**-11
    ]  # fmt: skip
    values = keys[::-1].copy()
    pages, offsets = np.array([3, 0, 3, 1, 1], np.int32), np.array([0, 15, 1, 7, 8], np.int32)
    value_pages = rng.standard_normal((4, 3, PAGE, 40)).astype(np.float16)
    key_pages = np.ascontiguousarray(value_pages[::-1].swapaxes(2, 3))
    want_keys, want_values = key_pages.copy(), value_pages.copy()
    with np.errstate(over="ignore"):
        want_keys[pages, :, :, offsets] = keys.astype(np.float16)
        want_values[pages, :, offsets] = values.astype(np.float16)
    ops.store_kv(keys, values, pages, offsets, key_pages=key_pages, value_pages=value_pages)
    np.testing.assert_array_equal(key_pages.view(np.uint16), want_keys.view(np.uint16))
    np.testing.assert_array_equal(value_pages.view(np.uint16), want_values.view(np.uint16))
    assert np.isinf(key_pages[3, 0, 4, 0])
    assert key_pages[3, 0, 3, 0] == 65504


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_store_kv_refuses_wrong_shapes(backend: str) -> None:
    store_kv = load_ops(backend).store_kv
    rows = np.zeros((2, 3, 8), np.float32)
    place = np.zeros(2, np.int32)
    keys, values = np.zeros((4, 3, 8, PAGE), np.float16), np.zeros((4, 3, PAGE, 8), np.float16)
    for new_keys, new_values, key_pages, value_pages in (
        (rows[:1], rows, keys, values),
        (rows, rows[:, :2], keys, values),
        (rows, rows, keys[:, :, :4], values[..., :4]),
        (rows, rows, keys, values[:3]),
        (rows, rows, values, values),
        (rows, rows, keys.astype(np.float32), values),
        (rows, rows, keys, values.astype(np.float32)),
    ):
        with pytest.raises(ShapeError):
            store_kv(
                new_keys, new_values, place, place, key_pages=key_pages, value_pages=value_pages
            )
