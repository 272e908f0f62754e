"""Softmax attention of a step's rows over paged keys and values."""

import numpy as np

from slipstream.cpu_kernels.errors import (
    ShapeError,
    expect_array,
    expect_float32,
    expect_indices,
    expect_multiple,
    expect_output,
)
from slipstream.cpu_kernels.kv_pages import KVPages
from slipstream.cpu_kernels.reference.kv_blocks import from_blocks
from slipstream.cpu_kernels.visibility import Visibility


def attention(
    q: np.ndarray, pages: KVPages, visibility: Visibility, *, scale: float, out: np.ndarray
) -> np.ndarray:
    """out[m, h] = softmax(scale * q[m, h] . keys) values, over the keys that row m sees.

    q, out : (M, H, D) float32, C-contiguous; `out` is written and returned
    pages  : K heads of D dimensions; head h of q reads key/value head h // (H / K)
    The keys of the step's own rows are already in the pages. Row m of the result does not depend
    on the other rows. Raises ShapeError when shapes do not fit. Source: arXiv:1706.03762, eq. 1;
    grouped heads: arXiv:2305.13245.
    """
    check_attention(q, pages, visibility, out)
    group, page_size = q.shape[1] // pages.num_heads, pages.page_size
    for m, s in enumerate(visibility.sequences):
        past, table = visibility.past[s], visibility.page_tables[s]
        seen = np.concatenate(
            [
                np.arange(visibility.first_key[m], past),
                past + np.flatnonzero(visibility.mask[m, : visibility.num_new[s]]),
            ]
        )
        keys, values = read_pages(pages, table[seen // page_size], seen % page_size)
        keys, values = np.repeat(keys, group, axis=1), np.repeat(values, group, axis=1)
        scores = scale * np.einsum("hd,thd->ht", q[m].astype(np.float64), keys)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        out[m] = np.einsum("ht,thd->hd", weights, values)
    return out


def read_pages(
    pages: KVPages, page_ids: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values at these places (T,), each (T, K, D) float64."""
    keys, values = pages.keys[page_ids, :, :, offsets], pages.values[page_ids, :, offsets]
    if pages.key_scales is None or pages.value_scales is None:
        return keys.astype(np.float64), values.astype(np.float64)
    key_bytes = np.ascontiguousarray(keys).view(np.uint8)
    if pages.bits == 8:
        key_bytes = (key_bytes.astype(np.int16) - 128).astype(np.int8)
    return (
        from_blocks(key_bytes, pages.key_scales[page_ids, :, :, offsets], pages.bits),
        from_blocks(values, pages.value_scales[page_ids, :, offsets], pages.bits),
    )


def check_attention(q: np.ndarray, pages: KVPages, visibility: Visibility, out: np.ndarray) -> None:
    """Raise ShapeError unless the arguments of `attention` fit together."""
    v = visibility
    num_rows, (num_sequences, most_pages) = len(v.sequences), v.page_tables.shape
    shape = (num_rows, q.shape[1], pages.head_size)
    expect_float32("q", q, shape)
    expect_output("out", out, shape)
    expect_multiple("heads of q", q.shape[1], pages.num_heads)
    room = most_pages * pages.page_size
    expect_indices("page_tables", v.page_tables, v.page_tables.shape, len(pages.values))
    expect_indices("past", v.past, (num_sequences,), room + 1)
    expect_indices("num_new", v.num_new, (num_sequences,), v.mask.shape[1] + 1)
    expect_indices("first_key", v.first_key, (num_rows,), room + 1)
    expect_array("mask", v.mask, np.bool_, (num_rows, v.mask.shape[1]))
    if v.num_new.sum() != num_rows or (v.past + v.num_new > room).any():
        raise ShapeError(
            f"num_new: expected {num_rows} rows in all, and with `past` at most {room} keys of a "
            f"sequence; got {v.num_new.tolist()} after {v.past.tolist()}"
        )
