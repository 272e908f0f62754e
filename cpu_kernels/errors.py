"""The one error that kernels raise."""


class ShapeError(ValueError):
    """An array's shape, dtype or layout is not what the op's docstring asks for."""


def expect_shape(name: str, got: tuple[int, ...], want: tuple[int, ...]) -> None:
    """Raise ShapeError unless `got` equals `want`."""
    if got != want:
        raise ShapeError(f"{name}: expected shape {want}, got {got}")
