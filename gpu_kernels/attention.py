"""Softmax attention of a step's rows over paged keys and values."""

import torch
import triton

from slipstream.cpu_kernels import Visibility
from slipstream.cpu_kernels.errors import expect_multiple
from slipstream.gpu_kernels.kernels import attention as kernels
from slipstream.gpu_kernels.kv_pages import KVPages
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.tensors import expect_tensor

_FEW_ROWS = 16  # of a step whose rows have programs of their own, several for many keys
_KEYS_A_PART = 128
_FEW_QUERIES, _MANY_QUERIES = 16, 64  # rows times heads that share the keys they read
_TILE_NUMBERS = 4096  # of keys or queries that a program holds: more do not fit in registers


def attention(
    q: torch.Tensor, pages: KVPages, visibility: Visibility, *, scale: float, out: torch.Tensor
) -> torch.Tensor:
    """As `slipstream.cpu_kernels.reference.attention`.

    With int8 keys a query is rounded to int8 too, 32 dimensions a scale, as on the CPU. In steps of
    up to 16 rows a row is bit-identical whatever the other rows are. Places out of reach are not
    looked for: it would wait for the device.
    """
    num_rows = _check(q, pages, visibility, out)
    if num_rows == 0:
        return out
    num_heads, size = q.shape[1], q.shape[2]
    group = num_heads // pages.num_heads
    block_d = max(16, 32 if pages.quantised else 0, triton.next_power_of_2(size))
    block_keys = min(64, _TILE_NUMBERS // block_d)
    queries = (
        _FEW_QUERIES if num_rows <= _FEW_ROWS else min(_MANY_QUERIES, _TILE_NUMBERS // block_d)
    )
    rows = max(1, queries // group)
    num_parts = triton.cdiv(visibility.page_tables.shape[1] * pages.page_size, _KEYS_A_PART)
    in_parts = num_rows <= _FEW_ROWS and num_parts > 1
    num_parts = num_parts if in_parts else 1
    gathered = q.new_empty((num_rows, num_heads, num_parts, size)) if in_parts else out
    highest = q.new_empty((num_rows, num_heads, num_parts)) if in_parts else None
    totals = None if highest is None else torch.empty_like(highest)
    kernels.attend[(triton.cdiv(num_rows, rows), pages.num_heads, num_parts)](
        q,
        pages.keys,
        pages.values,
        pages.key_scales,
        pages.value_scales,
        visibility.sequences,
        visibility.page_tables,
        visibility.past,
        visibility.num_new,
        visibility.first_key,
        visibility.mask.view(torch.uint8),
        gathered,
        highest,
        totals,
        scale,
        num_rows,
        num_heads,
        pages.num_heads,
        visibility.page_tables.shape[1],
        visibility.mask.shape[1],
        HEAD_SIZE=size,
        PAGE_SIZE=pages.page_size,
        INT8=pages.quantised,
        GROUP=group,
        ROWS=rows,
        KEYS_A_PART=_KEYS_A_PART if in_parts else 0,
        BLOCK_Q=max(16, triton.next_power_of_2(rows * group)),
        BLOCK_D=block_d,
        BLOCK_KEYS=block_keys,
        **EXACT,
    )
    if in_parts:
        kernels.join_parts[(num_rows, num_heads)](
            gathered,
            highest,
            totals,
            visibility.sequences,
            visibility.past,
            visibility.num_new,
            out,
            num_parts,
            HEAD_SIZE=size,
            KEYS_A_PART=_KEYS_A_PART,
            BLOCK_D=block_d,
            **EXACT,
        )
    return out


def _check(q: torch.Tensor, pages: KVPages, visibility: Visibility, out: torch.Tensor) -> int:
    """The number of rows. Raises ShapeError unless the arguments fit together."""
    v = visibility
    num_rows, (num_sequences, most_pages) = len(v.sequences), v.page_tables.shape
    shape = (num_rows, q.shape[1], pages.head_size)
    expect_tensor("q", q, torch.float32, shape)
    expect_tensor("out", out, torch.float32, shape)
    expect_multiple("heads of q", q.shape[1], pages.num_heads)
    expect_tensor("sequences", v.sequences, torch.int32, (num_rows,))
    expect_tensor("page_tables", v.page_tables, torch.int32, (num_sequences, most_pages))
    expect_tensor("past", v.past, torch.int32, (num_sequences,))
    expect_tensor("num_new", v.num_new, torch.int32, (num_sequences,))
    expect_tensor("first_key", v.first_key, torch.int32, (num_rows,))
    expect_tensor("mask", v.mask, torch.bool, (num_rows, v.mask.shape[1]))
    return num_rows
