"""The ops as Triton kernels over torch tensors: quantised weights stay quantised in GPU memory.

Names and signatures are those of `slipstream.cpu_kernels.reference`, with tensors on
`compute_device()` where it has arrays, also within `RmsNorm` and `Visibility`, and `KVPages` of
this package. With TRITON_INTERPRET=1 in the environment the kernels run on the CPU, slowly, for
tests.
"""

from slipstream.cpu_kernels.reference.dequantize import dequantize
from slipstream.gpu_kernels.attention import attention
from slipstream.gpu_kernels.blend_gated import blend_gated
from slipstream.gpu_kernels.device import NoDeviceError, compute_device
from slipstream.gpu_kernels.kv_pages import KVPages
from slipstream.gpu_kernels.matmul import matmul
from slipstream.gpu_kernels.memory import (
    DeviceMemoryError,
    free_bytes,
    limit_bytes,
    peak_bytes,
    release_bytes,
    release_unused,
)
from slipstream.gpu_kernels.mirror import Mirror
from slipstream.gpu_kernels.page_lock import PageLock
from slipstream.gpu_kernels.prepare import prepare, set_num_threads
from slipstream.gpu_kernels.rms_norm import rms_norm
from slipstream.gpu_kernels.rotate_and_store import rotate_and_store
from slipstream.gpu_kernels.staged_layer import StagedLayer, panels_bytes, staged_arrays
from slipstream.gpu_kernels.tensors import empty, empty_host, from_host, synchronize, to_host
from slipstream.gpu_kernels.top_k import top_k
from slipstream.gpu_kernels.weight import Weight, pack_weight, stack_weights, weight_bytes

DEVICE = "gpu"  # that computes these ops
IN_HOST_MEMORY = False  # are their arrays
IN_PANELS = False  # are weights, see panel_format

__all__ = [
    "DEVICE",
    "IN_HOST_MEMORY",
    "IN_PANELS",
    "DeviceMemoryError",
    "KVPages",
    "Mirror",
    "NoDeviceError",
    "PageLock",
    "StagedLayer",
    "Weight",
    "attention",
    "blend_gated",
    "compute_device",
    "dequantize",
    "empty",
    "empty_host",
    "free_bytes",
    "from_host",
    "limit_bytes",
    "matmul",
    "pack_weight",
    "panels_bytes",
    "peak_bytes",
    "prepare",
    "release_bytes",
    "release_unused",
    "rms_norm",
    "rotate_and_store",
    "set_num_threads",
    "stack_weights",
    "staged_arrays",
    "synchronize",
    "to_host",
    "top_k",
    "weight_bytes",
]

if compute_device().type == "cuda":  # said at once where there is none
    from slipstream.gpu_kernels.capture import capturing as capturing
