"""The ops as Numba kernels: quantised weights stay quantised, all cores work, no GIL is held."""

from slipstream.cpu_kernels.compiled.attention import attention
from slipstream.cpu_kernels.compiled.blend_gated import blend_gated
from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set
from slipstream.cpu_kernels.compiled.kernel_cache import kernel_cache_dir
from slipstream.cpu_kernels.compiled.matmul import matmul
from slipstream.cpu_kernels.compiled.prepare import prepare, set_num_threads
from slipstream.cpu_kernels.compiled.program import capturing
from slipstream.cpu_kernels.compiled.rms_norm import rms_norm
from slipstream.cpu_kernels.compiled.rotate_and_store import rotate_and_store
from slipstream.cpu_kernels.compiled.top_k import top_k
from slipstream.cpu_kernels.compiled.weight import Weight, pack_weight, stack_weights, weight_bytes
from slipstream.cpu_kernels.host_arrays import Mirror, empty, from_host, synchronize, to_host
from slipstream.cpu_kernels.kv_pages import KVPages
from slipstream.cpu_kernels.reference.dequantize import dequantize

DEVICE = "cpu"  # that computes these ops
IN_HOST_MEMORY = True  # are their arrays
IN_PANELS = True  # are weights, see panel_format

__all__ = [
    "DEVICE",
    "IN_HOST_MEMORY",
    "IN_PANELS",
    "KVPages",
    "Mirror",
    "Weight",
    "attention",
    "blend_gated",
    "capturing",
    "chosen_instruction_set",
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

kernel_cache_dir()  # so that a folder or an instruction set that can't be had is refused at once
