"""Softmax attention of a step's rows over paged keys and values."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_dtype, expect_multiple, expect_shape
from slipstream.cpu_kernels.visibility import Visibility


def attention(
    q: np.ndarray,
    key_pages: np.ndarray,
    value_pages: np.ndarray,
    visibility: Visibility,
    *,
    scale: float,
    out: np.ndarray,
) -> np.ndarray:
    """out[m, h] = softmax(scale * q[m, h] . keys) values, over the keys that row m sees.

    q, out                 : (M, H, D) float32, C-contiguous; `out` is written and returned
    key_pages              : (P, K, D, page_size) float16; head h reads key/value head h // (H / K)
    value_pages            : (P, K, page_size, D) float16
    The keys of the step's own rows are already in the pages. Row m of the result does not depend
    on the other rows. Raises ShapeError when shapes do not fit. Source: arXiv:1706.03762, eq. 1;
    grouped heads: arXiv:2305.13245.
    """
    check_attention(q, key_pages, value_pages, visibility, out)
    group, page_size = q.shape[1] // key_pages.shape[1], key_pages.shape[3]
    for m, s in enumerate(visibility.sequences):
        past, table = visibility.past[s], visibility.page_tables[s]
        seen = np.concatenate(
            [
                np.arange(visibility.first_key[m], past),
                past + np.flatnonzero(visibility.mask[m, : visibility.num_new[s]]),
            ]
        )
        pages, offsets = table[seen // page_size], seen % page_size
        keys = np.repeat(key_pages[pages, :, :, offsets].astype(np.float64), group, axis=1)
        values = np.repeat(value_pages[pages, :, offsets].astype(np.float64), group, axis=1)
        scores = scale * np.einsum("hd,thd->ht", q[m].astype(np.float64), keys)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        out[m] = np.einsum("ht,thd->hd", weights, values)
    return out


def check_attention(
    q: np.ndarray,
    key_pages: np.ndarray,
    value_pages: np.ndarray,
    visibility: Visibility,
    out: np.ndarray,
) -> None:
    """Raise ShapeError unless the arguments of `attention` fit together."""
    expect_shape("out", out.shape, q.shape)
    num_pages, num_heads, head_size, page_size = key_pages.shape
    expect_shape("value_pages", value_pages.shape, (num_pages, num_heads, page_size, head_size))
    expect_dtype("key_pages", key_pages, np.float16)
    expect_dtype("value_pages", value_pages, np.float16)
    expect_shape("q", q.shape, (len(visibility.sequences), q.shape[1], head_size))
    expect_multiple("heads of q", q.shape[1], num_heads)
