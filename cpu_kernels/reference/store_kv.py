"""Appends keys and values to the pages of a KV cache."""

import numpy as np

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
    """Write row m to place `offsets[m]` of page `pages[m]`, rounded to float16, nearest even.

    Beyond 65,504 that is infinity, which makes the logits NaN instead of a little wrong.

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
    expect_dtype("key_pages", key_pages, np.float16)
    expect_dtype("value_pages", value_pages, np.float16)
    with np.errstate(over="ignore"):
        key_pages[pages, :, :, offsets] = keys
        value_pages[pages, :, offsets] = values
