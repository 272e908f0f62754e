"""Gated blends, of every backend, against the reference."""

import numpy as np
import pytest

from slipstream.cpu_kernels import ShapeError, reference
from support.op_backends import OTHER_BACKENDS, load_ops
from support.op_tolerances import LIMITS, assert_close

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
ROW_COUNTS = (0, 1, 2, 3, 7, 33)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("size", [1e-6, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("channels", [1, 7, 32, 100, 1024, 4097])
@pytest.mark.parametrize("has_b", [False, True])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_blend_gated(backend: str, has_b: bool, channels: int, size: float) -> None:
    ops = load_ops(backend)
    gate, a = normal(33, channels) * np.float32(size), normal(33, channels, seed=1)
    b = normal(33, channels, seed=2) if has_b else None
    want = reference.blend_gated(gate, a, b, out=np.empty_like(a))
    whole = ops.blend_gated(gate, a, b, out=np.full_like(a, np.nan))
    assert_close(whole, want, LIMITS["blend_gated"])
    for rows in ROW_COUNTS:
        out = np.full((rows, channels), np.nan, np.float32)
        part = None if b is None else b[:rows]
        assert ops.blend_gated(gate[:rows], a[:rows], part, out=out) is out
        np.testing.assert_array_equal(out, whole[:rows])


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_the_result_may_take_the_place_of_any_input(backend: str, place: int) -> None:
    ops = load_ops(backend)
    given = [normal(3, 100, seed=seed) for seed in range(3)]
    want = ops.blend_gated(*given, out=np.empty((3, 100), np.float32))
    ops.blend_gated(*given, out=given[place])
    np.testing.assert_array_equal(given[place], want)


@pytest.mark.parametrize("channels", [7, 1024])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_gated_by_itself_it_is_silu(backend: str, channels: int) -> None:
    ops, x = load_ops(backend), 5 * normal(7, channels)
    wide = x.astype(np.float64)
    out = ops.blend_gated(x, x, out=np.empty_like(x))
    assert_close(out, wide / (1 + np.exp(-wide)), LIMITS["blend_gated"])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_far_from_zero_a_gate_lets_one_through_exactly(backend: str) -> None:
    ops, a, b = load_ops(backend), normal(2, 40), normal(2, 40, seed=1)
    for gate, want in ((100, a), (1e30, a), (-100, b), (-1e30, b)):
        out = ops.blend_gated(np.full_like(a, gate), a, b, out=np.empty_like(a))
        np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("has_b", [False, True])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_broken_number_shows_in_its_place_alone(backend: str, place: int, has_b: bool) -> None:
    ops = load_ops(backend)
    given = [normal(3, 40, seed=seed) for seed in range(3 if has_b else 2)]
    sound = ops.blend_gated(*given, out=np.empty((3, 40), np.float32))
    given[place][1, 33] = np.nan
    out = ops.blend_gated(*given, out=np.empty((3, 40), np.float32))
    assert np.isnan(out[1, 33])
    out[1, 33] = sound[1, 33]
    np.testing.assert_array_equal(out, sound)


@pytest.mark.parametrize("name", ["a", "b", "out"])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_wrong_shapes_are_refused(backend: str, name: str) -> None:
    ops = load_ops(backend)
    given = {each: normal(2, 8) for each in ("gate", "a", "b", "out")}
    for shape in ((2, 7), (3, 8), (16,)):
        wrong = given | {name: np.zeros(shape, np.float32)}
        out = wrong.pop("out")
        with pytest.raises(ShapeError, match=name):
            ops.blend_gated(*wrong.values(), out=out)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_gate_without_columns_is_refused(backend: str) -> None:
    numbers = normal(16)
    with pytest.raises(ShapeError, match="gate: expected rows and columns"):
        load_ops(backend).blend_gated(numbers, numbers, out=numbers)


@pytest.mark.parametrize("name", ["gate", "a", "b", "out"])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_what_would_be_misread_is_refused(backend: str, name: str) -> None:
    ops = load_ops(backend)
    given = {each: normal(2, 8) for each in ("gate", "a", "b", "out")}
    for misread in (np.zeros((2, 8)), np.zeros((2, 16), np.float32)[:, ::2]):
        wrong = given | {name: misread}
        out = wrong.pop("out")
        with pytest.raises(ShapeError, match=name):
            ops.blend_gated(*wrong.values(), out=out)
