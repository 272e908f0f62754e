"""Weights one above the other: their product is that of each, whatever types they have."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, RmsNorm, ShapeError, reference
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from support.op_backends import OTHER_BACKENDS, few_if_interpreted, load_ops
from support.op_tolerances import assert_close, matmul_limit
from support.random_blocks import random_rows

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
COLUMNS = 512
BATCHES = (0, 1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 64)
# Rows that end in the middle of a panel of 16, and less than a panel.
MIXED = ((QuantType.F16, 17), (QuantType.Q4_K, 33), (QuantType.Q6_K, 5), (QuantType.F16, 1))
SAME = ((QuantType.Q8_0, 19), (QuantType.Q8_0, 1), (QuantType.Q8_0, 48))
NO_FLOATS = ((QuantType.Q4_K, 15), (QuantType.Q5_0, 16), (QuantType.Q6_K, 31))
FLOATS = ((QuantType.F32, 7), (QuantType.BF16, 18))
STACKS = {"mixed": MIXED, "same": SAME, "no floats": NO_FLOATS, "floats": FLOATS}
Stack = tuple[tuple[QuantType, int], ...]


def parts_of(ops: ModuleType, stack: Stack) -> list[Any]:
    rng = np.random.default_rng(7)
    return [
        ops.pack_weight(random_rows(kind, rows, COLUMNS, rng), kind, COLUMNS)
        for kind, rows in stack
    ]


def rows_of_x(batch: int, columns: int = COLUMNS) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, columns)).astype(np.float32)


def run(ops: ModuleType, x: np.ndarray, weight: Any, **options: Any) -> np.ndarray:
    out = np.full((x.shape[0], weight.rows), np.nan, np.float32)
    return ops.matmul(x, weight, out=out, **options)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_stack_gives_the_bits_of_its_parts(backend: str, stack: Stack) -> None:
    ops = load_ops(backend)
    parts = parts_of(ops, stack)
    weight = ops.stack_weights(parts)
    norm = RmsNorm(weight=rows_of_x(1)[0], eps=1e-6)
    for batch in few_if_interpreted(backend, BATCHES, (0, 1, 5, 17)):
        for columns, options in (
            (COLUMNS, {}),
            (COLUMNS, {"norm": norm}),
            (2 * COLUMNS, {"activation": "silu"}),
        ):
            x = rows_of_x(batch, columns)
            alone = np.hstack([run(ops, x, part, **options) for part in parts])
            np.testing.assert_array_equal(run(ops, x, weight, **options), alone)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_stack_agrees_with_the_reference(backend: str, stack: Stack) -> None:
    ops = load_ops(backend)
    weight = ops.stack_weights(parts_of(ops, stack))
    exact = reference.stack_weights(parts_of(reference, stack))
    assert (weight.rows, weight.columns) == (exact.rows, COLUMNS)
    for batch in (1, 13):
        x = rows_of_x(batch)
        got, want = run(ops, x, weight), run(reference, x, exact)
        first = 0
        for kind, rows in stack:
            columns = slice(first, first + rows)
            assert_close(got[:, columns], want[:, columns], matmul_limit(kind), kind.name)
            first += rows


@pytest.mark.parametrize("batch", [1, 5, 12])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_bias_and_accumulate_fall_on_the_rows_of_their_part(backend: str, batch: int) -> None:
    ops = load_ops(backend)
    weight = ops.stack_weights(parts_of(ops, MIXED))
    x, bias = rows_of_x(batch), rows_of_x(1, weight.rows)[0]
    before = rows_of_x(batch, weight.rows)
    product = run(ops, x, weight)
    for use_bias in (False, True):
        for accumulate in (False, True):
            out = before.copy()
            given = bias if use_bias else None
            assert ops.matmul(x, weight, bias=given, accumulate=accumulate, out=out) is out
            want = product.astype(np.float64) + bias * use_bias + before * accumulate
            assert_close(out, want, 1e-6)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_stack_is_flat_and_takes_no_memory(backend: str) -> None:
    ops = load_ops(backend)
    parts = parts_of(ops, MIXED)
    weight = ops.stack_weights(parts)
    again = ops.stack_weights([ops.stack_weights(parts[:2]), *parts[2:]])
    assert weight.num_bytes == again.num_bytes == sum(part.num_bytes for part in parts)
    assert len(again.parts) == len(weight.parts) == len(MIXED)
    x = rows_of_x(3)
    np.testing.assert_array_equal(run(ops, x, again), run(ops, x, weight))
    alone = run(ops, x, ops.stack_weights(parts[:1]))
    np.testing.assert_array_equal(alone, run(ops, x, parts[0]))


@pytest.mark.parametrize("num_threads", [1, 2, 3, 7])
def test_threads_do_not_change_the_result(num_threads: int) -> None:
    """Items of several parts are shared out together, in more than one block of rows."""
    ops = load_ops("numba")
    stack = ((QuantType.F16, 333), (QuantType.Q4_K, 1001), (QuantType.Q6_K, 70))
    weight = ops.stack_weights(parts_of(ops, stack))
    x = rows_of_x(300)
    whole = run(ops, x, weight)
    before = POOL.num_threads
    try:
        ops.set_num_threads(num_threads)
        for _ in range(5):
            np.testing.assert_array_equal(run(ops, x, weight), whole)
    finally:
        ops.set_num_threads(before)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_broken_activation_shows_in_every_part(backend: str, poison: float) -> None:
    ops = load_ops(backend)
    weight = ops.stack_weights(parts_of(ops, MIXED))
    x = rows_of_x(5)
    whole = run(ops, x, weight)
    x[2, 300] = poison
    got = run(ops, x, weight)
    assert not np.isfinite(got[2]).any()
    np.testing.assert_array_equal(np.delete(got, 2, axis=0), np.delete(whole, 2, axis=0))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_wrong_shapes_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    rng = np.random.default_rng(0)
    wide, narrow = (
        ops.pack_weight(random_rows(QuantType.Q8_0, 3, columns, rng), QuantType.Q8_0, columns)
        for columns in (64, 32)
    )
    with pytest.raises(ShapeError, match=r"\[32, 64\]"):
        ops.stack_weights([wide, narrow])
    stack = ops.stack_weights([wide, wide])
    x = np.zeros((2, 64), np.float32)
    for wrong in (
        {"out": np.zeros((2, 3), np.float32)},
        {"out": np.zeros((2, 6), np.float32), "bias": np.zeros(3, np.float32)},
    ):
        with pytest.raises(ShapeError):
            ops.matmul(x, stack, **wrong)
