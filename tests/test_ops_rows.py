"""The norm of rows, of every backend, against the reference."""

import numpy as np
import pytest

from slipstream.cpu_kernels import RmsNorm, ShapeError, reference
from support.op_backends import OTHER_BACKENDS, load_ops
from support.op_tolerances import LIMITS, assert_close

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
ROW_COUNTS = (0, 1, 2, 3, 7, 64)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1.0, 1e4, 1e15])
@pytest.mark.parametrize("channels", [1, 7, 32, 100, 1024, 4097])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_rms_norm(backend: str, channels: int, size: float) -> None:
    ops = load_ops(backend)
    x = normal(64, channels) * np.float32(size)
    norm = RmsNorm(weight=normal(channels, seed=1), eps=1e-6)
    want = reference.rms_norm(x, norm, out=np.empty_like(x))
    whole = ops.rms_norm(x, norm, out=np.full_like(x, np.nan))
    assert_close(whole, want, LIMITS["rms_norm"])
    for rows in ROW_COUNTS:
        out = np.full((rows, channels), np.nan, np.float32)
        assert ops.rms_norm(x[:rows], norm, out=out) is out
        np.testing.assert_array_equal(out, whole[:rows])
    in_place = x.copy()
    ops.rms_norm(in_place, norm, out=in_place)
    np.testing.assert_array_equal(in_place, whole)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_rms_norm_of_zeros_is_zero_and_nan_stays_in_its_row(backend: str) -> None:
    ops = load_ops(backend)
    x = np.zeros((3, 40), np.float32)
    x[1, 5] = np.nan
    out = ops.rms_norm(x, RmsNorm(weight=np.ones(40, np.float32), eps=1e-6), out=np.empty_like(x))
    assert np.isnan(out[1]).all()
    assert not out[[0, 2]].any()


@pytest.mark.parametrize("channels", [1, 7, 100, 1024])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_rms_norm_added_to_what_is_there(backend: str, channels: int) -> None:
    ops = load_ops(backend)
    x, before = normal(7, channels), normal(7, channels, seed=2)
    norm = RmsNorm(weight=normal(channels, seed=1), eps=1e-6)
    normed = reference.rms_norm(x, norm, out=np.empty_like(x))
    out = before.copy()
    assert ops.rms_norm(x, norm, accumulate=True, out=out) is out
    assert_close(out, normed.astype(np.float64) + before, LIMITS["rms_norm"])
    for rows in ROW_COUNTS:
        part = before[:rows].copy()
        ops.rms_norm(x[:rows], norm, accumulate=True, out=part)
        np.testing.assert_array_equal(part, out[:rows])


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_broken_number_shows_in_its_row_alone(
    backend: str, accumulate: bool, poison: float
) -> None:
    ops = load_ops(backend)
    x, norm = normal(3, 40), RmsNorm(weight=normal(40, seed=1), eps=1e-6)
    sound = ops.rms_norm(x, norm, accumulate=accumulate, out=np.ones_like(x))
    x[1, 33] = poison
    out = ops.rms_norm(x, norm, accumulate=accumulate, out=np.ones_like(x))
    assert np.isnan(out[1, 33])
    np.testing.assert_array_equal(out[[0, 2]], sound[[0, 2]])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_wrong_shapes_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    x = normal(2, 8)
    with pytest.raises(ShapeError, match="weight"):
        ops.rms_norm(x, RmsNorm(weight=normal(7), eps=1e-6), out=x)
    with pytest.raises(ShapeError, match="out"):
        ops.rms_norm(x, RmsNorm(weight=normal(8), eps=1e-6), out=normal(3, 8))
