"""What other backends must do before their first op; NumPy needs nothing."""

from collections.abc import Callable, Iterable

from slipstream.cpu_kernels.quant_types import QuantType


def prepare(
    quant_types: Iterable[QuantType], progress: Callable[[int, int], None] | None = None
) -> None:
    """Nothing is compiled."""


def set_num_threads(num_threads: int) -> None:
    """NumPy's linear algebra library decides for itself."""
