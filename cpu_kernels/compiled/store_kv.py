"""Appends keys and values to the pages of a KV cache."""

import numpy as np

from slipstream.cpu_kernels.compiled.addresses import float32_to_half
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.errors import expect_dtype, expect_shape


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
    num_pages, num_heads, head_size, page_size = key_pages.shape
    expect_shape("keys", keys.shape, (len(pages), num_heads, head_size))
    expect_shape("values", values.shape, keys.shape)
    expect_shape("value_pages", value_pages.shape, (num_pages, num_heads, page_size, head_size))
    expect_dtype("key_pages", key_pages, np.float16)
    expect_dtype("value_pages", value_pages, np.float16)
    _store(keys, values, pages, offsets, key_pages.view(np.uint16), value_pages.view(np.uint16))


@kernel()
def _store(keys, values, pages, offsets, key_pages, value_pages):
    for m in range(keys.shape[0]):
        page, offset = pages[m], offsets[m]
        for h in range(keys.shape[1]):
            for d in range(keys.shape[2]):
                key_pages[page, h, d, offset] = float32_to_half(keys[m, h, d])
                value_pages[page, h, offset, d] = float32_to_half(values[m, h, d])
