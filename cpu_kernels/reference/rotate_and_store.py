"""From the fused product to attention: head norms, rotation, and keys and values to their pages."""

import numpy as np

from slipstream.cpu_kernels.errors import expect_float32, expect_indices, expect_output
from slipstream.cpu_kernels.kv_pages import KVPages
from slipstream.cpu_kernels.norm import RmsNorm
from slipstream.cpu_kernels.reference.kv_blocks import to_blocks
from slipstream.cpu_kernels.reference.rms_norm import rms_norm
from slipstream.cpu_kernels.reference.rope import rope


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
    """Norm the heads of queries and keys, rotate them, store keys and values; returns the queries.

    qkv               : (M, (H + 2 K) D) float32, C-contiguous: queries, keys, values of each row
    cos, sin          : (M, R) float32, of position times frequency, R <= D / 2; see `rope`
    page_ids, offsets : (M,) int32, page and place in it of each row
    query_norm, key_norm : over the D dimensions of a head
    pages             : changed; numbers are rounded to nearest, ties to even; see kv_blocks
    out               : (M, H, D) float32, C-contiguous, written and returned
    Beyond float16 a key is infinite, and a scale NaN: the logits are NaN instead of wrong.
    Raises ShapeError when shapes do not fit.
    """
    check_rotate_and_store(qkv, cos, sin, page_ids, offsets, query_norm, key_norm, pages, out)
    num_rows, num_heads, size = out.shape
    heads = qkv.astype(np.float64).reshape(num_rows, -1, size)
    ends = [num_heads, num_heads + pages.num_heads]
    queries, keys, values = np.split(heads, ends, axis=1)
    for part, norm in ((queries, query_norm), (keys, key_norm)):
        if norm is not None:
            flat = part.reshape(-1, size)
            part[:] = rms_norm(flat, norm, out=np.empty_like(flat)).reshape(part.shape)
        rope(part, cos, sin, interleaved=interleaved)
    out[:] = queries
    with np.errstate(over="ignore", invalid="ignore"):
        if pages.quantised:
            _store_blocks(keys, values, page_ids, offsets, pages)
        else:
            pages.keys[page_ids, :, :, offsets] = keys.astype(np.float32)
            pages.values[page_ids, :, offsets] = values.astype(np.float32)
    return out


def _store_blocks(
    keys: np.ndarray, values: np.ndarray, page_ids: np.ndarray, offsets: np.ndarray, pages: KVPages
) -> None:
    assert pages.key_scales is not None
    assert pages.value_scales is not None
    stored, scales = to_blocks(keys, pages.bits)
    stored = (stored.astype(np.int16) + 128).astype(np.uint8) if pages.bits == 8 else stored
    pages.keys[page_ids, :, :, offsets] = np.ascontiguousarray(stored).view(np.uint32)
    pages.key_scales[page_ids, :, :, offsets] = scales
    stored, scales = to_blocks(values, pages.bits)
    pages.values[page_ids, :, offsets] = stored
    pages.value_scales[page_ids, :, offsets] = scales


def check_rotate_and_store(
    qkv: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    page_ids: np.ndarray,
    offsets: np.ndarray,
    query_norm: RmsNorm | None,
    key_norm: RmsNorm | None,
    pages: KVPages,
    out: np.ndarray,
) -> None:
    """Raise ShapeError unless the arguments of `rotate_and_store` fit together."""
    num_rows, num_heads, size = out.shape
    expect_output("out", out, (num_rows, num_heads, pages.head_size))
    expect_float32("qkv", qkv, (num_rows, (num_heads + 2 * pages.num_heads) * size))
    expect_indices("page_ids", page_ids, (num_rows,), len(pages.values))
    expect_indices("offsets", offsets, (num_rows,), pages.page_size)
    expect_float32("cos", cos, (num_rows, min(cos.shape[1], size // 2)))
    expect_float32("sin", sin, cos.shape)
    for name, norm in (("query_norm", query_norm), ("key_norm", key_norm)):
        if norm is not None:
            expect_float32(name, norm.weight, (size,))
