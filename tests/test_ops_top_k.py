"""The largest numbers of each row, of every backend, against the reference."""

import numpy as np
import pytest

from slipstream.cpu_kernels import ShapeError, reference
from support.op_backends import OTHER_BACKENDS, few_if_interpreted, load_ops

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)


def top_k(ops: object, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.full((len(x), k), 77, np.int32)
    out = np.full((len(x), k), 77, np.float32)
    ops.top_k(x, k, ids=ids, out=out)
    return ids, out


def with_extremes(rows: int, columns: int) -> np.ndarray:
    """Random numbers with ties, infinities, NaN and rows of nothing else."""
    rng = np.random.default_rng(columns)
    x = rng.standard_normal((rows, columns)).astype(np.float32) * 3
    x[::3] = np.round(x[::3])  # ties
    x[rng.random(x.shape) < 0.05] = np.nan
    x[rng.random(x.shape) < 0.02] = np.inf
    x[rng.random(x.shape) < 0.02] = -np.inf
    if rows > 4:
        x[1], x[2], x[3], x[4] = np.nan, -np.inf, 0.0, -0.0
    return x


@pytest.mark.parametrize("columns", [1, 2, 7, 8, 15, 16, 17, 63, 64, 65, 100, 1000, 4097, 50_001])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_equals_the_reference(backend: str, columns: int) -> None:
    ops = load_ops(backend)
    for rows in few_if_interpreted(backend, (0, 1, 2, 7, 33), (0, 7)):
        x = with_extremes(rows, columns)
        for k in {1, min(8, columns), min(columns, 64)}:
            for got, want in zip(top_k(ops, x, k), top_k(reference, x, k), strict=True):
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_order_and_ties(backend: str) -> None:
    x = np.array([[1, 5, 2, 5, -np.inf, np.nan]], np.float32)
    ids, out = top_k(load_ops(backend), x, 6)
    assert ids.tolist() == [[1, 3, 2, 0, -1, -1]]
    assert out.tolist() == [[5, 5, 2, 1, -np.inf, -np.inf]]


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_what_does_not_fit_is_refused(backend: str) -> None:
    ops = load_ops(backend)
    x = np.zeros((2, 5), np.float32)
    ids, out = np.zeros((2, 3), np.int32), np.zeros((2, 3), np.float32)
    for bad in (
        {"x": x.astype(np.float64)},
        {"x": x[0]},
        {"x": x[:, ::2]},
        {"ids": ids.astype(np.int64)},
        {"ids": ids[:1]},
        {"out": out[:, :2]},
        {"k": 0},
        {"k": 6},
    ):
        given = {"x": x, "k": 3, "ids": ids, "out": out} | bad
        with pytest.raises(ShapeError):
            ops.top_k(given["x"], given["k"], ids=given["ids"], out=given["out"])
