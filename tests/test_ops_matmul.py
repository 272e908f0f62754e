"""Matrix products of every backend and instruction set against the reference."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, ShapeError, reference
from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS, runnable
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.weight import tile_addresses
from support.int8_rounding import rounded_to_int8
from support.op_backends import OTHER_BACKENDS, few_if_interpreted, load_ops
from support.op_tolerances import MATMUL_ROUNDED, assert_close, matmul_limit
from support.random_blocks import random_rows

BATCHES = (1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 64, 511)
MOST = max(BATCHES)
FEW_BATCHES = (1, 5, 17)
FEW = 64
ODD_ROWS = (1, 15, 16, 17, 33)
QUANTISED = [each for each in QuantType if each.block_columns > 1]
Matmul = Callable[..., np.ndarray]


def column_counts(quant_type: QuantType) -> tuple[int, ...]:
    if quant_type.block_columns == 1:
        return (1, 7, 33, 256)
    return (quant_type.block_columns, 3 * quant_type.block_columns)


def activations(columns: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (MOST, columns) float32): ordinary rows, and rows that a model seldom makes."""
    x = rng.standard_normal((MOST, columns)).astype(np.float32)
    yield "ordinary", x
    yield "tiny", x * np.float32(1e-30)
    yield "huge", x * np.float32(1e30)
    yield "zero", np.zeros_like(x)
    spiked = x.copy()
    spiked[:, :: max(2, columns // 3)] = -10_000.0
    yield "spiked", spiked
    yield "negative", -np.abs(x)


def run(matmul: Matmul, x: np.ndarray, weight: Any, **options: Any) -> np.ndarray:
    out = np.full((x.shape[0], weight.rows), np.nan, np.float32)
    return matmul(x, weight, out=out, **options)


@pytest.mark.parametrize("quant_type", QuantType)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_agrees_with_the_reference(backend: str, quant_type: QuantType) -> None:
    ops = load_ops(backend)
    rng = np.random.default_rng(quant_type.value)
    for columns in column_counts(quant_type):
        raw = random_rows(quant_type, max(ODD_ROWS), columns, rng, std=columns**-0.5)
        exact = reference.pack_weight(raw, quant_type, columns)
        weight = ops.pack_weight(raw, quant_type, columns)
        for name, x in activations(columns, rng):
            x = few_if_interpreted(backend, x, x[:33])
            got = run(ops.matmul, x, weight)
            what = f"{quant_type.name}, {columns} columns, {name}"
            if quant_type.block_columns > 1:
                assert_close(got, rounded_to_int8(x) @ exact.exact.T, MATMUL_ROUNDED, what)
            if name in ("ordinary", "tiny", "huge", "zero"):
                few = x[:FEW]  # the limit is for the largest of some thousand sums
                want = run(reference.matmul, few, exact)
                assert_close(got[:FEW], want, matmul_limit(quant_type), what)


@pytest.mark.parametrize("quant_type", QuantType)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_results_do_not_depend_on_the_other_rows(backend: str, quant_type: QuantType) -> None:
    """A row of x and a row of the weight make the same bits in any company."""
    ops = load_ops(backend)
    rng = np.random.default_rng(quant_type.value)
    columns = column_counts(quant_type)[-1]
    raw = random_rows(quant_type, max(ODD_ROWS), columns, rng)
    batches = few_if_interpreted(backend, BATCHES, FEW_BATCHES)
    x = rng.standard_normal((max(batches), columns)).astype(np.float32)
    whole = run(ops.matmul, x, ops.pack_weight(raw, quant_type, columns))
    for rows in ODD_ROWS:
        weight = ops.pack_weight(raw[:rows], quant_type, columns)
        for batch in batches:
            first = int(rng.integers(0, len(x) - batch + 1))
            got = run(ops.matmul, x[first : first + batch], weight)
            np.testing.assert_array_equal(got, whole[first : first + batch, :rows])


@pytest.mark.parametrize("quant_type", QuantType)
@pytest.mark.parametrize("instruction_set", [name for name in INSTRUCTION_SETS if name != "plain"])
def test_instruction_sets_are_bit_identical(quant_type: QuantType, instruction_set: str) -> None:
    if instruction_set not in runnable():
        pytest.skip(f"this CPU does not run {instruction_set}")
    ops = load_ops("numba")
    rng = np.random.default_rng(quant_type.value)
    columns = column_counts(quant_type)[-1]
    raw = random_rows(quant_type, 33, columns, rng)
    weight = ops.pack_weight(raw, quant_type, columns)
    special, plain = (
        replace(weight, parts=(replace(part, tiles=tile_addresses(quant_type, name)),))
        for part in weight.parts
        for name in (instruction_set, "plain")
    )
    for _, x in activations(columns, rng):
        for batch in (1, 2, 4, 8, 12, 15):
            np.testing.assert_array_equal(
                run(ops.matmul, x[:batch], special), run(ops.matmul, x[:batch], plain)
            )


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="avx1024"):
        tile_addresses(QuantType.Q4_0, "avx1024")


@pytest.mark.parametrize("quant_type", QUANTISED)
def test_extreme_codes_and_scales(quant_type: QuantType) -> None:
    """All bits set, none set: the largest codes and sub-scales there are, beside zero scales."""
    ops = load_ops("numba")
    rng = np.random.default_rng(1)
    columns = 2 * quant_type.block_columns
    raw = random_rows(quant_type, 6, columns, rng)
    blocks = raw.reshape(6, 2, quant_type.block_bytes)
    scales = blocks.copy()
    blocks[0], blocks[1], blocks[2, 0] = 0xFF, 0, 0
    keep_scales(blocks, scales, quant_type)
    if quant_type is QuantType.MXFP4:
        blocks[1:3, :, 0] = scales[1:3, :, 0]  # its least exponent makes numbers below 1e-38
    x = rng.standard_normal((5, columns)).astype(np.float32)
    exact = reference.pack_weight(raw, quant_type, columns).exact
    got = run(ops.matmul, x, ops.pack_weight(raw, quant_type, columns))
    want = rounded_to_int8(x) @ exact.T
    assert_close(got[:, :1], want[:, :1], MATMUL_ROUNDED, "all bits set")
    assert_close(got[:, 1:], want[:, 1:], MATMUL_ROUNDED, "usual rows, and one of zeros")


def keep_scales(blocks: np.ndarray, usual: np.ndarray, quant_type: QuantType) -> None:
    """Put the usual float16 scales back into row 0: all bits set are no number there."""
    places = {QuantType.Q2_K: 80, QuantType.Q3_K: 108, QuantType.Q6_K: 208}
    at = places.get(quant_type, 0)
    width = 1 if quant_type is QuantType.MXFP4 else 4
    blocks[0, :, at : at + width] = usual[0, :, at : at + width]


@pytest.mark.parametrize("quant_type", [QuantType.F32, QuantType.F16, QuantType.Q8_0])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("backend", ["reference", *OTHER_BACKENDS])
def test_bias_and_accumulate(backend: str, batch: int, quant_type: QuantType) -> None:
    ops = load_ops(backend)
    rng = np.random.default_rng(2)
    raw = random_rows(quant_type, 17, 64, rng)
    weight = ops.pack_weight(raw, quant_type, 64)
    x = rng.standard_normal((batch, 64)).astype(np.float32)
    bias = rng.standard_normal(17).astype(np.float32)
    before = rng.standard_normal((batch, 17)).astype(np.float32)
    product = run(ops.matmul, x, weight)
    for use_bias in (False, True):
        for accumulate in (False, True):
            out = before.copy()
            result = ops.matmul(
                x, weight, bias=bias if use_bias else None, accumulate=accumulate, out=out
            )
            assert result is out
            want = product.astype(np.float64) + bias * use_bias + before * accumulate
            assert_close(out, want, 1e-6)


@pytest.mark.parametrize("quant_type", [QuantType.F32, QuantType.Q4_K])
@pytest.mark.parametrize("backend", ["reference", *OTHER_BACKENDS])
def test_no_rows_give_no_rows(backend: str, quant_type: QuantType) -> None:
    ops = load_ops(backend)
    raw = random_rows(quant_type, 3, 256, np.random.default_rng(0))
    weight = ops.pack_weight(raw, quant_type, 256)
    assert run(ops.matmul, np.empty((0, 256), np.float32), weight).shape == (0, 3)


@pytest.mark.parametrize("num_threads", [1, 2, 3, 7])
def test_threads_do_not_change_the_result(num_threads: int) -> None:
    """More threads than cores too: which thread computes a panel must not matter."""
    ops = load_ops("numba")
    rng = np.random.default_rng(3)
    raw = random_rows(QuantType.Q4_K, 1000, 512, rng)
    weight = ops.pack_weight(raw, QuantType.Q4_K, 512)
    x = rng.standard_normal((9, 512)).astype(np.float32)
    whole = run(ops.matmul, x, weight)
    before = POOL.num_threads
    try:
        ops.set_num_threads(num_threads)
        for _ in range(20):
            np.testing.assert_array_equal(run(ops.matmul, x, weight), whole)
        again = ops.pack_weight(raw, QuantType.Q4_K, 512)
        np.testing.assert_array_equal(again.parts[0].panels, weight.parts[0].panels)
    finally:
        ops.set_num_threads(before)


def test_ops_of_several_threads_do_not_meet() -> None:
    """One has the workers, the others work alone; all get what they get by themselves."""
    ops = load_ops("numba")
    rng = np.random.default_rng(5)
    raw = random_rows(QuantType.Q4_0, 200, 256, rng)
    weight = ops.pack_weight(raw, QuantType.Q4_0, 256)
    inputs = [rng.standard_normal((m, 256)).astype(np.float32) for m in (1, 5, 9, 17)]
    alone = [run(ops.matmul, x, weight) for x in inputs]
    before = POOL.num_threads
    ops.set_num_threads(3)
    try:
        with ThreadPoolExecutor(4) as callers:
            for _ in range(50):
                together = callers.map(lambda x: run(ops.matmul, x, weight), inputs)
                for got, want in zip(together, alone, strict=True):
                    np.testing.assert_array_equal(got, want)
    finally:
        ops.set_num_threads(before)


def test_other_python_threads_run_meanwhile() -> None:
    """The interpreter's lock is free while a product is computed."""
    ops = load_ops("numba")
    columns = 2048
    raw = random_rows(QuantType.F32, columns, columns, np.random.default_rng(6))
    weight = ops.pack_weight(raw, QuantType.F32, columns)
    x = np.ones((512, columns), np.float32)
    turns = 0
    with ThreadPoolExecutor(1) as thread:
        product = thread.submit(run, ops.matmul, x, weight)
        while not product.done():
            time.sleep(0.0005)
            turns += 1
    assert turns > 5  # held, it would let this thread in at the beginning and at the end


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quant_type", [QuantType.F32, QuantType.Q4_0, QuantType.Q6_K])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_broken_activation_shows_in_its_row_alone(
    backend: str, quant_type: QuantType, poison: float
) -> None:
    """A model that overflows must not go on with numbers that look sound."""
    ops = load_ops(backend)
    rng = np.random.default_rng(4)
    weight = ops.pack_weight(random_rows(quant_type, 20, 512, rng), quant_type, 512)
    x = rng.standard_normal((5, 512)).astype(np.float32)
    whole = run(ops.matmul, x, weight)
    for column in (0, 31, 300, 511):
        broken = x.copy()
        broken[2, column] = poison
        got = run(ops.matmul, broken, weight)
        assert not np.isfinite(got[2]).any()
        np.testing.assert_array_equal(np.delete(got, 2, axis=0), np.delete(whole, 2, axis=0))


@pytest.mark.parametrize("backend", ["reference", *OTHER_BACKENDS])
def test_wrong_shapes_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    raw = random_rows(QuantType.Q8_0, 8, 64, np.random.default_rng(0))
    weight = ops.pack_weight(raw, QuantType.Q8_0, 64)
    x, out = np.zeros((2, 64), np.float32), np.zeros((2, 8), np.float32)
    for wrong in (
        {"x": np.zeros((2, 32), np.float32), "out": out},
        {"x": np.zeros(64, np.float32), "out": out},
        {"x": x, "out": np.zeros((3, 8), np.float32)},
        {"x": x, "out": np.zeros((2, 9), np.float32)},
        {"x": x, "out": out, "bias": np.zeros(7, np.float32)},
    ):
        arguments = {"weight": weight} | wrong
        with pytest.raises(ShapeError):
            ops.matmul(arguments.pop("x"), **arguments)
    for columns in (32, 63, 256):
        with pytest.raises(ShapeError):
            ops.pack_weight(raw, QuantType.Q8_0, columns)


@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_arrays_that_compiled_code_would_misread_are_refused(backend: str) -> None:
    ops = load_ops(backend)
    raw = random_rows(QuantType.F32, 8, 64, np.random.default_rng(0))
    weight = ops.pack_weight(raw, QuantType.F32, 64)
    x, out = np.zeros((2, 64), np.float32), np.zeros((2, 8), np.float32)
    with pytest.raises(ShapeError, match="got C-contiguous float64"):
        ops.matmul(x.astype(np.float64), weight, out=out)
    with pytest.raises(ShapeError, match="not C-contiguous"):
        ops.matmul(np.zeros((64, 2), np.float32).T, weight, out=out)
    with pytest.raises(ShapeError, match="float64"):
        ops.matmul(x, weight, out=out.astype(np.float64))
    with pytest.raises(ShapeError, match="not C-contiguous"):
        ops.matmul(x, weight, out=np.zeros((8, 2), np.float32).T)
    with pytest.raises(ShapeError, match="float64"):
        ops.matmul(x, weight, bias=np.zeros(8), out=out)
