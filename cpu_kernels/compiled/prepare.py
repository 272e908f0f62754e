"""Compiles every kernel that a model needs, before the first token waits for one."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from slipstream.cpu_kernels.compiled.attention import attention
from slipstream.cpu_kernels.compiled.matmul import matmul
from slipstream.cpu_kernels.compiled.rms_norm import rms_norm
from slipstream.cpu_kernels.compiled.rotate_and_store import rotate_and_store
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.weight import pack_weight
from slipstream.cpu_kernels.kv_pages import KVPages
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.visibility import Visibility


def prepare(
    quant_types: Iterable[QuantType], progress: Callable[[int, int], None] | None = None
) -> None:
    """Run each op once on a tiny input, so that it is compiled or read from the kernel cache.

    quant_types : the weight types that the model file has
    progress    : told (done, total) before each step and at the end
    """
    steps = [*_op_steps(), *(_weight_step(each) for each in quant_types)]
    for done, step in enumerate(steps):
        if progress:
            progress(done, len(steps))
        step()
    if progress:
        progress(len(steps), len(steps))


def set_num_threads(num_threads: int) -> None:
    """How many threads share the work of each op from now on; at least 1."""
    POOL.resize(num_threads)


def _weight_step(quant_type: QuantType) -> Callable[[], None]:
    def step() -> None:
        columns = quant_type.block_columns
        raw = np.zeros((1, quant_type.row_bytes(columns)), np.uint8)
        raw.flags.writeable = False  # as a memory-mapped file is: part of the compiled signature
        weight = pack_weight(raw, quant_type, columns)
        matmul(np.zeros((1, columns), np.float32), weight, out=np.empty((1, 1), np.float32))

    return step


def _op_steps() -> Iterator[Callable[[], object]]:
    rows = np.zeros((1, 32), np.float32)
    norm = RmsNorm(weight=rows[0].copy(), eps=1e-6)
    qkv, heads = np.zeros((1, 96), np.float32), np.zeros((1, 1, 32), np.float32)
    angles, place = np.zeros((1, 16), np.float32), np.zeros(1, np.int32)
    pages = KVPages.empty(num_pages=1, num_heads=1, head_size=32, page_size=16, dtype="float16")
    one_key = Visibility(
        sequences=place,
        page_tables=np.zeros((1, 1), np.int32),
        past=place,
        first_key=place,
        mask=np.ones((1, 1), bool),
        num_new=np.ones(1, np.int32),
    )
    yield lambda: rms_norm(rows, norm, out=rows)
    yield lambda: rotate_and_store(
        qkv, angles, angles, place, place, interleaved=False, pages=pages, out=heads
    )
    yield lambda: attention(heads, pages, one_key, scale=1.0, out=heads)
