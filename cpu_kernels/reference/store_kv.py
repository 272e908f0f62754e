"""Appends keys and values to the pages of a KV cache."""

import numpy as np

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
    """Write row m to place `offsets[m]` of page `pages[m]`, rounded to the cache's dtype.

    keys, values           : (M, K, D) float32
    pages, offsets         : (M,) int32
    key_pages              : (P, K, D, page_size) float16, changed; transposed for `attention`
    value_pages            : (P, K, page_size, D) float16, changed
    Raises ShapeError when shapes do not fit.
    """
    num_pages, num_heads, head_size, page_size = key_pages.shape
    expect_shape("keys", keys.shape, (len(pages), num_heads, head_size))
    expect_shape("values", values.shape, keys.shape)
    expect_shape("value_pages", value_pages.shape, (num_pages, num_heads, page_size, head_size))
    key_pages[pages, :, :, offsets] = keys
    value_pages[pages, :, offsets] = values
