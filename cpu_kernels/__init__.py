"""CPU kernels: a NumPy reference that defines every op, and Numba kernels for the same ops."""

from slipstream.cpu_kernels.errors import ShapeError
from slipstream.cpu_kernels.kv_pages import (
    KV_BLOCK_DIMENSIONS,
    KVPages,
    kv_bytes_per_token,
)
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.visibility import Visibility

__all__ = [
    "KV_BLOCK_DIMENSIONS",
    "KVPages",
    "QuantType",
    "RmsNorm",
    "ShapeError",
    "Visibility",
    "kv_bytes_per_token",
]
