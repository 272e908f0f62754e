"""From the fused product to attention: head norms, rotation, and keys and values to their pages."""

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import ROTATE_AND_STORE
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.kv_pages import KVPages
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.reference.rotate_and_store import check_rotate_and_store


def rotate_and_store(
    qkv: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    page_ids: np.ndarray,
    offsets: np.ndarray,
    *,
    interleaved: bool,
    query_norm: RmsNorm | None = None,
    key_norm: RmsNorm | None = None,
    pages: KVPages,
    out: np.ndarray,
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.rotate_and_store`."""
    check_rotate_and_store(qkv, cos, sin, page_ids, offsets, query_norm, key_norm, pages, out)
    call = Call.of(
        load_kernel("rotate_and_store.rotate_and_store"),
        ROTATE_AND_STORE,
        pages,
        qkv=qkv,
        num_rows=qkv.shape[0],
        num_heads=out.shape[1],
        cos=cos,
        sin=sin,
        half=cos.shape[1],
        interleaved=interleaved,
        page_ids=page_ids,
        offsets=offsets,
        query_norm=None if query_norm is None else query_norm.weight,
        query_eps=0.0 if query_norm is None else query_norm.eps,
        key_norm=None if key_norm is None else key_norm.weight,
        key_eps=0.0 if key_norm is None else key_norm.eps,
        kv=pages.record,
        out=out,
    )
    POOL.run(call)
    return out
