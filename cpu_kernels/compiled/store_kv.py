"""Appends keys and values to the pages of a KV cache."""

import numpy as np

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.memory import float32_to_half
from slipstream.cpu_kernels.errors import expect_shape


def store_kv(
    keys: np.ndarray,
    values: np.ndarray,
    pages: np.ndarray,
    offsets: np.ndarray,
    *,
    key_pages: np.ndarray,
    value_pages: np.ndarray,
) -> None:
    """As `slipstream.cpu_kernels.reference.store_kv`."""
    num_pages, num_heads, page_size, head_size = key_pages.shape
    expect_shape("keys", keys.shape, (len(pages), num_heads, head_size))
    expect_shape("values", values.shape, keys.shape)
    expect_shape("value_pages", value_pages.shape, (num_pages, num_heads, page_size, head_size))
    _store(keys, pages, offsets, key_pages.view(np.uint16))
    _store(values, pages, offsets, value_pages.view(np.uint16))


@kernel()
def _store(rows, pages, offsets, into):
    for m in range(rows.shape[0]):
        for h in range(rows.shape[1]):
            for d in range(rows.shape[2]):
                into[pages[m], h, offsets[m], d] = float32_to_half(rows[m, h, d])
