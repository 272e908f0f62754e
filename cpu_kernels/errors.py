"""The one error that kernels raise."""

import numpy as np
import numpy.typing as npt

_FLOAT32 = np.dtype(np.float32)


class ShapeError(ValueError):
    """An array's shape, dtype or layout is not what the op's docstring asks for."""


def expect_shape(name: str, got: tuple[int, ...], want: tuple[int, ...]) -> None:
    """Raise ShapeError unless `got` equals `want`."""
    if got != want:
        raise ShapeError(f"{name}: expected shape {want}, got {got}")


def expect_matrix(name: str, got: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of a shape. Raises ShapeError unless it has two numbers."""
    if len(got) != 2:
        raise ShapeError(f"{name}: expected rows and columns, got {got}")
    return got[0], got[1]


def expect_float32(name: str, got: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless `got` has this shape and is C-contiguous float32.

    For code that reads by address and would take anything else for float32 numbers.
    """
    expect_array(name, got, _FLOAT32, shape)


def expect_array(name: str, got: np.ndarray, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless `got` has this shape and is C-contiguous of this dtype."""
    if got.shape == shape and got.dtype == dtype and got.flags.c_contiguous:
        return
    layout = "C-contiguous" if got.flags.c_contiguous else "not C-contiguous"
    raise ShapeError(
        f"{name}: expected C-contiguous {np.dtype(dtype)} of shape {shape}, got {layout} "
        f"{got.dtype} of shape {got.shape}"
    )


def expect_multiple(name: str, got: int, of: int) -> None:
    """Raise ShapeError unless `got` is a multiple of `of`."""
    if got % of:
        raise ShapeError(f"{name}: expected a multiple of {of}, got {got}")


def expect_output(name: str, got: np.ndarray, shape: tuple[int, ...]) -> None:
    """As `expect_float32`, for an array that is written."""
    expect_float32(name, got, shape)
    if not got.flags.writeable:
        raise ShapeError(f"{name}: expected an array that can be written, got a read-only one")


def expect_indices(name: str, got: np.ndarray, shape: tuple[int, ...], end: int) -> None:
    """Raise ShapeError unless `got` is C-contiguous int32 of this shape, from 0 to below `end`."""
    expect_array(name, got, np.int32, shape)
    if got.size and not (got.min() >= 0 and got.max() < end):
        raise ShapeError(f"{name}: expected 0 to {end - 1}, got {got.min()} to {got.max()}")
