"""What a product is taken of: rows as they are, normed, or opened by their gates."""

from slipstream.cpu_kernels.norm import RmsNorm

AS_IS, NORM, SILU, GELU = range(4)  # as kernels are told
_SOURCES = {None: AS_IS, "silu": SILU, "gelu": GELU}


def row_source(norm: RmsNorm | None, activation: str | None) -> int:
    """The source that `matmul`'s options name; what does not go together is refused before."""
    return _SOURCES[activation] if norm is None else NORM
