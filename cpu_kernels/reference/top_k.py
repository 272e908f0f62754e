"""The largest numbers of each row."""

import numpy as np

from slipstream.cpu_kernels.errors import ShapeError, expect_array, expect_float32, expect_output


def top_k(x: np.ndarray, k: int, *, ids: np.ndarray, out: np.ndarray) -> None:
    """The k largest of each row and where they stand: largest first, equal ones by lower index.

    x   : (M, C) float32; NaN is never among them
    ids : (M, k) int32, written; -1 where a row has fewer numbers
    out : (M, k) float32, written; -inf there
    Raises ShapeError when shapes do not fit or k is not 1 to C.
    """
    check_top_k(x, k, ids, out)
    for m, row in enumerate(x):
        numbers = np.flatnonzero(row > -np.inf)
        order = numbers[np.argsort(-row[numbers], kind="stable")[:k]]
        ids[m], out[m] = -1, -np.inf
        ids[m, : len(order)], out[m, : len(order)] = order, row[order]


def check_top_k(x: np.ndarray, k: int, ids: np.ndarray, out: np.ndarray) -> None:
    """Raise ShapeError unless the arguments of `top_k` fit together."""
    expect_float32("x", x, x.shape)
    if x.ndim != 2 or not 1 <= k <= x.shape[1]:
        raise ShapeError(f"top_k: expected 1 to {x.shape[-1]} of rows (M, C), got {k} of {x.shape}")
    expect_array("ids", ids, np.int32, (x.shape[0], k))
    expect_output("out", out, (x.shape[0], k))
