"""Softmax attention of a step's rows over paged keys and values."""

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import ATTENTION
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.errors import expect_multiple
from slipstream.cpu_kernels.kv_pages import KVPages
from slipstream.cpu_kernels.reference.attention import check_attention
from slipstream.cpu_kernels.visibility import Visibility

_VECTOR_KEYS = 16  # keys of a page are scored so many at a time


def attention(
    q: np.ndarray, pages: KVPages, visibility: Visibility, *, scale: float, out: np.ndarray
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.attention`; pages hold a multiple of 16 tokens.

    A row's result is bit-identical whatever the other rows are, and a tree's row equals the same
    row of a linear step. With int8 keys a query is rounded to int8 too, 32 dimensions a scale.
    """
    check_attention(q, pages, visibility, out)
    expect_multiple("page size", pages.page_size, _VECTOR_KEYS)
    call = Call.of(
        load_kernel("attention.attention"),
        ATTENTION,
        pages,
        q=q,
        num_heads=q.shape[1],
        head_size=q.shape[2],
        kv=pages.record,
        page_tables=visibility.page_tables,
        num_sequences=visibility.page_tables.shape[0],
        num_pages=visibility.page_tables.shape[1],
        past=visibility.past,
        num_new=visibility.num_new,
        first_key=visibility.first_key,
        mask=visibility.mask,
        most_new=visibility.mask.shape[1],
        scale=scale,
        out=out,
    )
    POOL.run(call)
    return out
