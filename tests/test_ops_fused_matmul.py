"""Products of what a norm or a gated activation makes of x, of every backend.

A weight that picks columns of float32 shows what was made: each output is one number times 1 and
nothing else.
"""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, RmsNorm, ShapeError, reference
from slipstream.cpu_kernels.reference.gated_activation import gated_activation
from support.int8_rounding import rounded_to_int8
from support.op_backends import OTHER_BACKENDS, few_if_interpreted, load_ops
from support.op_tolerances import LIMITS, MATMUL_ROUNDED, assert_close
from support.random_blocks import random_rows

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
ROW_COUNTS = (0, 1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 64)
FEW_ROW_COUNTS = (0, 1, 5, 17)
ACTIVATIONS = ("silu", "gelu")
SOURCES = ("norm", *ACTIVATIONS)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def picked(columns: int) -> np.ndarray:
    """All columns, or of many some that lie all over, with the first and the last."""
    return np.unique(np.linspace(0, columns - 1, min(columns, 130)).astype(int))


def picker(ops: ModuleType, columns: int) -> Any:
    """The weight whose product is the picked columns."""
    rows = np.eye(columns, dtype=np.float32)[picked(columns)]
    return ops.pack_weight(rows.view(np.uint8), QuantType.F32, columns)


def run(ops: ModuleType, x: np.ndarray, weight: Any, **options: Any) -> np.ndarray:
    out = np.full((x.shape[0], weight.rows), np.nan, np.float32)
    return ops.matmul(x, weight, out=out, **options)


def source_of(name: str, columns: int) -> tuple[int, dict[str, Any]]:
    """How wide x is, and the option of matmul."""
    if name == "norm":
        return columns, {"norm": RmsNorm(weight=normal(columns, seed=1), eps=1e-6)}
    return 2 * columns, {"activation": name}


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1.0, 1e4, 1e15])
@pytest.mark.parametrize("channels", [1, 7, 32, 100, 1024, 4097])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_what_a_norm_makes(backend: str, channels: int, size: float) -> None:
    ops = load_ops(backend)
    x, norm = normal(64, channels) * np.float32(size), source_of("norm", channels)[1]["norm"]
    weight = picker(ops, channels)
    whole = run(ops, x, weight, norm=norm)
    want = reference.rms_norm(x, norm, out=np.empty_like(x))[:, picked(channels)]
    assert_close(whole, want, LIMITS["rms_norm"])
    for rows in few_if_interpreted(backend, ROW_COUNTS, FEW_ROW_COUNTS):
        np.testing.assert_array_equal(run(ops, x[:rows], weight, norm=norm), whole[:rows])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("size", [1e-20, 1.0, 20.0, 1e4])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_what_an_activation_makes(backend: str, size: float, activation: str) -> None:
    ops = load_ops(backend)
    for width in (1, 7, 33, 1056):
        gate, up = normal(64, width) * np.float32(size), normal(64, width, seed=1)
        x, weight = np.hstack([gate, up]), picker(ops, width)
        whole = run(ops, x, weight, activation=activation)
        want = gated_activation(gate, up, activation, out=np.empty_like(gate))
        assert_close(whole, want[:, picked(width)], LIMITS["gated_activation"])
        for rows in few_if_interpreted(backend, ROW_COUNTS, FEW_ROW_COUNTS):
            part = run(ops, x[:rows], weight, activation=activation)
            np.testing.assert_array_equal(part, whole[:rows])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [1, 33])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_an_activation_at_the_ends(backend: str, width: int, activation: str) -> None:
    """Far below zero it is 0, far above the gate itself, everywhere finite; NaN stays NaN."""
    ops = load_ops(backend)
    ends = np.array([-1e30, -1e4, -200, -89, -0.0, 0.0, 89, 200, 1e4, 1e30, np.nan], np.float32)
    x = np.ones((len(ends), 2 * width), np.float32)
    x[:, :width] = ends[:, None]
    out = run(ops, x, picker(ops, width), activation=activation)
    np.testing.assert_allclose(out[:6], 0, atol=1e-6)
    np.testing.assert_allclose(out[6:10], x[6:10, :width], rtol=1e-6)
    assert np.isnan(out[10]).all()


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_norm_of_zeros_is_zero(backend: str) -> None:
    ops = load_ops(backend)
    _, options = source_of("norm", 40)
    assert not run(ops, np.zeros((3, 40), np.float32), picker(ops, 40), **options).any()


@pytest.mark.parametrize("quant_type", QuantType)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_agrees_with_the_reference(backend: str, source: str, quant_type: QuantType) -> None:
    """A quantised weight meets what was made rounded to int8; that it was made well, others test.

    Gated numbers have long tails, so that rounding moves their sums by more than a limit against
    exact ones should allow.
    """
    ops = load_ops(backend)
    rng = np.random.default_rng(quant_type.value)
    columns = 3 * quant_type.block_columns if quant_type.block_columns > 1 else 33
    raw = random_rows(quant_type, 33, columns, rng, std=columns**-0.5)
    exact = reference.pack_weight(raw, quant_type, columns)
    weight = ops.pack_weight(raw, quant_type, columns)
    width, options = source_of(source, columns)
    x = normal(29, width)
    got = run(ops, x, weight, **options)
    if quant_type.block_columns == 1:
        assert_close(got, run(reference, x, exact, **options), LIMITS["matmul"])
        return
    identity = np.eye(columns, dtype=np.float32).view(np.uint8)
    made = run(ops, x, ops.pack_weight(identity, QuantType.F32, columns), **options)
    assert_close(got, rounded_to_int8(made) @ exact.exact.T, MATMUL_ROUNDED)


@pytest.mark.parametrize("quant_type", [QuantType.F32, QuantType.F16, QuantType.Q4_K])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_results_do_not_depend_on_the_other_rows(
    backend: str, source: str, quant_type: QuantType
) -> None:
    ops = load_ops(backend)
    rng = np.random.default_rng(3)
    width, options = source_of(source, 256)
    weight = ops.pack_weight(random_rows(quant_type, 33, 256, rng), quant_type, 256)
    batches = few_if_interpreted(backend, ROW_COUNTS, FEW_ROW_COUNTS)
    x = normal(8 * max(batches) - 1, width)
    whole = run(ops, x, weight, **options)
    for batch in batches:
        first = int(rng.integers(0, len(x) - batch + 1))
        got = run(ops, x[first : first + batch], weight, **options)
        np.testing.assert_array_equal(got, whole[first : first + batch])


@pytest.mark.parametrize("batch", [1, 5, 12])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("quant_type", [QuantType.F32, QuantType.Q8_0])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_bias_and_accumulate(backend: str, quant_type: QuantType, source: str, batch: int) -> None:
    ops = load_ops(backend)
    rng = np.random.default_rng(2)
    weight = ops.pack_weight(random_rows(quant_type, 17, 64, rng), quant_type, 64)
    width, options = source_of(source, 64)
    x, bias, before = normal(batch, width), normal(17, seed=3), normal(batch, 17, seed=4)
    given = x.copy()
    product = run(ops, x, weight, **options)
    for use_bias in (False, True):
        for accumulate in (False, True):
            out = before.copy()
            ops.matmul(
                x,
                weight,
                bias=bias if use_bias else None,
                accumulate=accumulate,
                out=out,
                **options,
            )
            want = product.astype(np.float64) + bias * use_bias + before * accumulate
            assert_close(out, want, 1e-6)
    np.testing.assert_array_equal(x, given)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quant_type", [QuantType.F32, QuantType.Q4_0, QuantType.Q6_K])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_broken_activation_shows_in_its_row_alone(
    backend: str, source: str, quant_type: QuantType, poison: float
) -> None:
    """Among the gates and among what they open."""
    ops = load_ops(backend)
    rng = np.random.default_rng(4)
    weight = ops.pack_weight(random_rows(quant_type, 20, 512, rng), quant_type, 512)
    width, options = source_of(source, 512)
    x = normal(5, width)
    whole = run(ops, x, weight, **options)
    for column in (0, 31, 300, width - 1):
        broken = x.copy()
        broken[2, column] = poison
        got = run(ops, broken, weight, **options)
        assert not np.isfinite(got[2]).any(), column
        np.testing.assert_array_equal(np.delete(got, 2, axis=0), np.delete(whole, 2, axis=0))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_wrong_shapes_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    weight, out = picker(ops, 8), np.zeros((2, 8), np.float32)
    norm = RmsNorm(weight=normal(8), eps=1e-6)
    for width, options in (
        (7, {"norm": norm}),
        (16, {"norm": norm}),
        (8, {"norm": RmsNorm(weight=normal(7), eps=1e-6)}),
        (8, {"activation": "silu"}),
        (15, {"activation": "silu"}),
        (17, {"activation": "gelu"}),
    ):
        with pytest.raises(ShapeError):
            ops.matmul(normal(2, width), weight, out=out, **options)
    with pytest.raises(ShapeError, match="out"):
        ops.matmul(normal(2, 16), weight, activation="silu", out=np.zeros((1, 8), np.float32))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_unknown_and_contrary_options_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    weight, out = picker(ops, 8), np.zeros((2, 8), np.float32)
    with pytest.raises(ValueError, match="'relu'"):
        ops.matmul(normal(2, 16), weight, activation="relu", out=out)
    norm = RmsNorm(weight=normal(8), eps=1e-6)
    with pytest.raises(ValueError, match="got both"):
        ops.matmul(normal(2, 16), weight, norm=norm, activation="silu", out=out)


@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_norms_that_compiled_code_would_misread_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    weight, out = picker(ops, 8), np.zeros((2, 8), np.float32)
    for wrong in (normal(8).astype(np.float64), normal(16)[::2]):
        with pytest.raises(ShapeError, match="norm"):
            ops.matmul(normal(2, 8), weight, norm=RmsNorm(weight=wrong, eps=1e-6), out=out)
