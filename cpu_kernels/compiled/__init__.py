"""The ops as Numba kernels: quantised weights stay quantised, all cores work, no GIL is held."""

from slipstream.cpu_kernels.compiled.attention import attention
from slipstream.cpu_kernels.compiled.gated_activation import gated_activation
from slipstream.cpu_kernels.compiled.matmul import matmul
from slipstream.cpu_kernels.compiled.prepare import prepare, set_num_threads
from slipstream.cpu_kernels.compiled.rms_norm import rms_norm
from slipstream.cpu_kernels.compiled.rope import rope
from slipstream.cpu_kernels.compiled.store_kv import store_kv
from slipstream.cpu_kernels.compiled.weight import Weight, pack_weight, weight_bytes
from slipstream.cpu_kernels.reference.dequantize import dequantize

__all__ = [
    "Weight",
    "attention",
    "dequantize",
    "gated_activation",
    "matmul",
    "pack_weight",
    "prepare",
    "rms_norm",
    "rope",
    "set_num_threads",
    "store_kv",
    "weight_bytes",
]
