"""What is done before the first op."""

from collections.abc import Callable, Iterable

from slipstream.cpu_kernels import QuantType


def prepare(
    quant_types: Iterable[QuantType], progress: Callable[[int, int], None] | None = None
) -> None:
    """Nothing: Triton compiles a kernel when it is first used, and keeps it on disk."""


def set_num_threads(num_threads: int) -> None:
    """The GPU has its own."""
