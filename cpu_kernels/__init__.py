"""CPU kernels: a NumPy reference that defines every op, and Numba kernels for the same ops."""

from slipstream.cpu_kernels.errors import ShapeError
from slipstream.cpu_kernels.kv_pages import (
    BLOCK_DIMENSIONS,
    KV_DTYPES,
    KVPages,
    kv_bytes_per_token,
)
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.visibility import Visibility

__all__ = [
    "BLOCK_DIMENSIONS",
    "KV_DTYPES",
    "KVPages",
    "QuantType",
    "RmsNorm",
    "ShapeError",
    "Visibility",
    "kv_bytes_per_token",
]
