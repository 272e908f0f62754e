"""CPU kernels: a NumPy reference that defines every op, and Numba kernels for the same ops."""

from slipstream.cpu_kernels.errors import ShapeError
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.visibility import Visibility

__all__ = ["QuantType", "ShapeError", "Visibility"]
