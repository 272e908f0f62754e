"""The living definition of every op, in NumPy with float64 inside.

Every other backend has the same names and signatures and is tested against this one.
"""

from slipstream.cpu_kernels.host_arrays import Mirror, empty, from_host, synchronize, to_host
from slipstream.cpu_kernels.kv_pages import KVPages
from slipstream.cpu_kernels.reference.attention import attention
from slipstream.cpu_kernels.reference.blend_gated import blend_gated
from slipstream.cpu_kernels.reference.dequantize import dequantize
from slipstream.cpu_kernels.reference.matmul import matmul
from slipstream.cpu_kernels.reference.prepare import prepare, set_num_threads
from slipstream.cpu_kernels.reference.rms_norm import rms_norm
from slipstream.cpu_kernels.reference.rotate_and_store import rotate_and_store
from slipstream.cpu_kernels.reference.top_k import top_k
from slipstream.cpu_kernels.reference.weight import Weight, pack_weight, stack_weights, weight_bytes

DEVICE = "cpu"  # that computes these ops
IN_HOST_MEMORY = True  # are their arrays
IN_PANELS = False  # are weights, see panel_format

__all__ = [
    "DEVICE",
    "IN_HOST_MEMORY",
    "IN_PANELS",
    "KVPages",
    "Mirror",
    "Weight",
    "attention",
    "blend_gated",
    "dequantize",
    "empty",
    "from_host",
    "matmul",
    "pack_weight",
    "prepare",
    "rms_norm",
    "rotate_and_store",
    "set_num_threads",
    "stack_weights",
    "synchronize",
    "to_host",
    "top_k",
    "weight_bytes",
]
