"""The row-wise ops of every backend against the reference: norms, rotation, activations."""

import numpy as np
import pytest

from slipstream.cpu_kernels import ShapeError, reference
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
    x, weight = normal(64, channels) * np.float32(size), normal(channels, seed=1)
    want = reference.rms_norm(x, weight, 1e-6, out=np.empty_like(x))
    whole = ops.rms_norm(x, weight, 1e-6, out=np.full_like(x, np.nan))
    assert_close(whole, want, LIMITS["rms_norm"])
    for rows in ROW_COUNTS:
        out = np.full((rows, channels), np.nan, np.float32)
        assert ops.rms_norm(x[:rows], weight, 1e-6, out=out) is out
        np.testing.assert_array_equal(out, whole[:rows])
    in_place = x.copy()
    ops.rms_norm(in_place, weight, 1e-6, out=in_place)
    np.testing.assert_array_equal(in_place, whole)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_rms_norm_of_zeros_is_zero_and_nan_stays_in_its_row(backend: str) -> None:
    ops = load_ops(backend)
    x = np.zeros((3, 40), np.float32)
    x[1, 5] = np.nan
    out = ops.rms_norm(x, np.ones(40, np.float32), 1e-6, out=np.empty_like(x))
    assert np.isnan(out[1]).all()
    assert not out[[0, 2]].any()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(
    ("head_size", "half"), [(2, 1), (16, 8), (40, 20), (64, 32), (64, 16), (128, 24), (256, 128)]
)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_rope(backend: str, head_size: int, half: int, interleaved: bool) -> None:
    ops = load_ops(backend)
    angles = np.random.default_rng(1).uniform(0, 1e4, (64, half))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    for num_heads in (1, 3):
        x = normal(64, num_heads, head_size)
        want = reference.rope(x.copy(), cos, sin, interleaved=interleaved)
        whole = x.copy()
        assert ops.rope(whole, cos, sin, interleaved=interleaved) is whole
        assert_close(whole, want, LIMITS["rope"])
        np.testing.assert_array_equal(whole[..., 2 * half :], x[..., 2 * half :])
        for rows in ROW_COUNTS:
            part = x[:rows].copy()
            ops.rope(part, cos[:rows], sin[:rows], interleaved=interleaved)
            np.testing.assert_array_equal(part, whole[:rows])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_rope_pairs_what_its_docstring_says(backend: str) -> None:
    """A quarter turn takes each pair (a, b) to (-b, a)."""
    ops = load_ops(backend)
    cos, sin = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 6)
    halves = ops.rope(x.copy(), cos, sin, interleaved=False)
    neighbours = ops.rope(x.copy(), cos, sin, interleaved=True)
    assert halves.ravel().tolist() == [-3, -4, 1, 2, 5, 6]
    assert neighbours.ravel().tolist() == [-2, 1, -4, 3, 5, 6]


@pytest.mark.parametrize("activation", ["silu", "gelu"])
@pytest.mark.parametrize("size", [1e-20, 1.0, 20.0, 1e4])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_gated_activation(backend: str, size: float, activation: str) -> None:
    ops = load_ops(backend)
    for width in (1, 7, 33, 1056):  # 64 rows of 1056 are enough to be shared among threads
        gate, up = normal(64, width) * np.float32(size), normal(64, width, seed=1)
        want = reference.gated_activation(gate, up, activation, out=np.empty_like(gate))
        whole = ops.gated_activation(gate, up, activation, out=np.full_like(gate, np.nan))
        assert_close(whole, want, LIMITS["gated_activation"])
        for rows in ROW_COUNTS:
            part = gate[:rows].copy()
            assert ops.gated_activation(part, up[:rows], activation, out=part) is part
            np.testing.assert_array_equal(part, whole[:rows])


@pytest.mark.parametrize("activation", ["silu", "gelu"])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_gated_activation_at_the_ends(backend: str, activation: str) -> None:
    """Far below zero it is 0, far above the gate itself, everywhere finite; NaN stays NaN."""
    ops = load_ops(backend)
    gate = np.array([[-1e30, -1e4, -200, -89, -0.0, 0.0, 89, 200, 1e4, 1e30, np.nan]], np.float32)
    out = ops.gated_activation(gate, np.ones_like(gate), activation, out=np.empty_like(gate))[0]
    np.testing.assert_allclose(out[:6], 0, atol=1e-6)
    np.testing.assert_allclose(out[6:10], gate[0, 6:10], rtol=1e-6)
    assert np.isnan(out[10])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_wrong_shapes_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    x = normal(2, 8)
    with pytest.raises(ShapeError, match="weight"):
        ops.rms_norm(x, normal(7), 1e-6, out=x)
    with pytest.raises(ShapeError, match="out"):
        ops.rms_norm(x, normal(8), 1e-6, out=normal(3, 8))
    heads, cos = normal(2, 3, 8), normal(2, 4)
    with pytest.raises(ShapeError, match="sin"):
        ops.rope(heads, cos, normal(2, 3), interleaved=False)
    with pytest.raises(ShapeError, match="x"):
        ops.rope(heads, normal(3, 4), normal(3, 4), interleaved=False)
    with pytest.raises(ShapeError, match="x"):
        ops.rope(heads, normal(2, 5), normal(2, 5), interleaved=True)
    with pytest.raises(ShapeError, match="up"):
        ops.gated_activation(x, normal(2, 7), "silu", out=x)
    with pytest.raises(ShapeError, match="out"):
        ops.gated_activation(x, x, "silu", out=normal(1, 8))
    with pytest.raises(ValueError, match="'relu'"):
        ops.gated_activation(x, x, "relu", out=x)
