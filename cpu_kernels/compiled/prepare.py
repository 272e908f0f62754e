"""Loads every kernel that a model needs, before the first token waits for one."""

from collections.abc import Callable, Iterable
from functools import partial

from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.weight import tile_addresses
from slipstream.cpu_kernels.quant_types import QuantType

_OPS = (
    "matmul.matmul",
    "attention.attention",
    "rotate_and_store.rotate_and_store",
    "rms_norm.rms_norm",
    "blend_gated.blend_gated",
    "top_k.top_k",
    "work_sharing.work",
    "work_sharing.run_program",
    "text_table.build_table",
    "text_table.find_text",
    "merge_words.find_merged",
    "merge_words.merge_words",
)


def prepare(
    quant_types: Iterable[QuantType], progress: Callable[[int, int], None] | None = None
) -> None:
    """Compile the kernels, or read them from the kernel cache.

    quant_types : the weight types that the model file has
    progress    : told (done, total) before each load and at the end
    """
    loads: list[Callable[[], object]] = [partial(load_kernel, name) for name in _OPS]
    loads += [partial(_load_weight_kernels, kind) for kind in quant_types]
    total = len(loads)
    for done, load in enumerate(loads):
        if progress:
            progress(done, total)
        load()
    if progress:
        progress(total, total)


def set_num_threads(num_threads: int) -> None:
    """How many threads share the work of each op from now on; at least 1."""
    POOL.resize(num_threads)


def _load_weight_kernels(quant_type: QuantType) -> None:
    load_kernel("repack.repack", quant_type.name)
    tile_addresses(quant_type)
