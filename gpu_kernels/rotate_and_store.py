"""From the fused product to attention: head norms, rotation, and keys and values to their pages."""

import torch
import triton

from slipstream.cpu_kernels import RmsNorm
from slipstream.gpu_kernels.kernels import rotate_and_store as kernels
from slipstream.gpu_kernels.kv_pages import KVPages
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.tensors import expect_tensor

_LEAST_BLOCK = 32  # dimensions; what quantised pages need


def rotate_and_store(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    page_ids: torch.Tensor,
    offsets: torch.Tensor,
    *,
    interleaved: bool,
    query_norm: RmsNorm | None = None,
    key_norm: RmsNorm | None = None,
    pages: KVPages,
    out: torch.Tensor,
) -> torch.Tensor:
    """As `slipstream.cpu_kernels.reference.rotate_and_store`.

    That places lie within the pages is not checked: it would wait for the device.
    """
    num_rows, num_heads, size = out.shape
    _check(qkv, cos, sin, page_ids, offsets, query_norm, key_norm, pages, out)
    if num_rows == 0:
        return out
    kernels.rotate_and_store[(num_rows, num_heads + 2 * pages.num_heads)](
        qkv,
        cos,
        sin,
        page_ids,
        offsets,
        None if query_norm is None else query_norm.weight,
        None if key_norm is None else key_norm.weight,
        0.0 if query_norm is None else query_norm.eps,
        0.0 if key_norm is None else key_norm.eps,
        pages.keys,
        pages.values,
        pages.key_scales,
        pages.value_scales,
        out,
        num_heads,
        pages.num_heads,
        cos.shape[1],
        pages.page_size,
        HEAD_SIZE=size,
        INTERLEAVED=interleaved,
        QUERY_NORM=query_norm is not None,
        KEY_NORM=key_norm is not None,
        BITS=pages.bits,
        BLOCK=max(_LEAST_BLOCK, triton.next_power_of_2(size)),
        **EXACT,
    )
    return out


def _check(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    page_ids: torch.Tensor,
    offsets: torch.Tensor,
    query_norm: RmsNorm | None,
    key_norm: RmsNorm | None,
    pages: KVPages,
    out: torch.Tensor,
) -> None:
    """Raise ShapeError unless the arguments of `rotate_and_store` fit together."""
    num_rows, num_heads, size = out.shape
    expect_tensor("out", out, torch.float32, (num_rows, num_heads, pages.head_size))
    width = (num_heads + 2 * pages.num_heads) * size
    expect_tensor("qkv", qkv, torch.float32, (num_rows, width))
    expect_tensor("page_ids", page_ids, torch.int32, (num_rows,))
    expect_tensor("offsets", offsets, torch.int32, (num_rows,))
    expect_tensor("cos", cos, torch.float32, (num_rows, min(cos.shape[1], size // 2)))
    expect_tensor("sin", sin, torch.float32, tuple(cos.shape))
    for name, norm in (("query_norm", query_norm), ("key_norm", key_norm)):
        if norm is not None:
            expect_tensor(name, norm.weight, torch.float32, (size,))
