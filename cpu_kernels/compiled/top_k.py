"""The largest numbers of each row, rows shared among threads."""

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import TOP_K
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.reference.top_k import check_top_k


def top_k(x: np.ndarray, k: int, *, ids: np.ndarray, out: np.ndarray) -> None:
    """As `slipstream.cpu_kernels.reference.top_k`."""
    check_top_k(x, k, ids, out)
    call = Call.of(
        load_kernel("top_k.top_k"),
        TOP_K,
        x=x,
        num_rows=x.shape[0],
        columns=x.shape[1],
        k=k,
        ids=ids,
        out=out,
    )
    POOL.run(call)
