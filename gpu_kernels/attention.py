"""Softmax attention of a step's rows over paged keys and values."""

import math
from dataclasses import dataclass

import torch
import triton

from slipstream.cpu_kernels import Visibility
from slipstream.cpu_kernels.errors import expect_multiple
from slipstream.gpu_kernels.device import multiplies_int8
from slipstream.gpu_kernels.kernels import attention as kernels
from slipstream.gpu_kernels.kernels.join_parts import join_parts
from slipstream.gpu_kernels.kernels.pack_queries import pack_queries
from slipstream.gpu_kernels.kv_pages import KVPages
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.tensors import expect_tensor

SMALL_STEP_ROWS = 16  # of a step whose keys are shared out to programs, parts of them to each
KEYS_A_PART = 128
_LEAST_KEYS = 16  # of one page that a program takes at a time


def attention(
    q: torch.Tensor, pages: KVPages, visibility: Visibility, *, scale: float, out: torch.Tensor
) -> torch.Tensor:
    """As `slipstream.cpu_kernels.reference.attention`.

    With quantised keys a query is rounded to int8 too, 32 dimensions a scale, as on the CPU. In
    steps of up to 16 rows a row is bit-identical whatever the other rows are. Places out of reach
    are not looked for: it would wait for the device.
    """
    num_rows = _check(q, pages, visibility, out)
    if num_rows == 0:
        return out
    in_parts = num_rows <= SMALL_STEP_ROWS
    num_parts = 1
    if in_parts:
        num_parts = triton.cdiv(visibility.page_tables.shape[1] * pages.page_size, KEYS_A_PART)
    gathered = q.new_empty((*q.shape[:2], num_parts, q.shape[2])) if in_parts else out
    highest = q.new_empty((*q.shape[:2], num_parts)) if in_parts else None
    totals = None if highest is None else torch.empty_like(highest)
    packed = _pack(q, scale, pages)
    _attend(packed, pages, visibility, num_parts, gathered, highest, totals)
    if in_parts:
        join_parts[q.shape[:2]](
            gathered,
            highest,
            totals,
            visibility.sequences,
            visibility.past,
            visibility.num_new,
            out,
            num_parts,
            HEAD_SIZE=q.shape[2],
            KEYS_A_PART=KEYS_A_PART,
            BITS=pages.bits,
            BLOCK_D=packed.high.shape[2],
            **EXACT,
        )
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class _PackedQueries:
    """What `pack_queries` made."""

    high: torch.Tensor
    low: torch.Tensor | None
    scales: torch.Tensor


def _pack(q: torch.Tensor, scale: float, pages: KVPages) -> _PackedQueries:
    num_rows, num_heads, size = q.shape
    quantised = pages.quantised
    block_d = max(32 if quantised else 16, triton.next_power_of_2(size))
    shape = (num_rows, num_heads, block_d)
    packed = _PackedQueries(
        high=q.new_empty(shape, dtype=torch.int8 if quantised else torch.float16),
        low=None if quantised else q.new_empty(shape, dtype=torch.float16),
        scales=q.new_empty((num_rows, num_heads, block_d // 32 if quantised else 1)),
    )
    pack_queries[(num_rows * num_heads,)](
        q,
        packed.high,
        packed.low,
        packed.scales,
        scale,
        HEAD_SIZE=size,
        BITS=pages.bits,
        BLOCK_D=block_d,
        num_warps=1,
        **EXACT,
    )
    return packed


def _attend(
    packed: _PackedQueries,
    pages: KVPages,
    visibility: Visibility,
    num_parts: int,
    gathered: torch.Tensor,
    highest: torch.Tensor | None,
    totals: torch.Tensor | None,
) -> None:
    num_rows, num_heads, block_d = packed.high.shape
    group = num_heads // pages.num_heads
    block_q, block_keys, num_warps = _tile(num_rows, block_d)
    grid = (triton.cdiv(num_rows * group, block_q), pages.num_heads, num_parts)
    kernels.attend[grid](
        packed.high,
        packed.low,
        packed.scales,
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
        num_rows,
        num_heads,
        pages.num_heads,
        visibility.page_tables.shape[1],
        visibility.mask.shape[1],
        HEAD_SIZE=pages.head_size,
        PAGE_SIZE=pages.page_size,
        BITS=pages.bits,
        IN_INT8=multiplies_int8(),
        GROUP=group,
        KEYS_A_PART=0 if highest is None else KEYS_A_PART,
        BLOCK_Q=block_q,
        BLOCK_D=block_d,
        BLOCK_KEYS=math.gcd(block_keys, pages.page_size),
        num_warps=num_warps,
        num_stages=1,  # its buffers are shared memory for more programs
        **EXACT,
    )


def _tile(num_rows: int, block_d: int) -> tuple[int, int, int]:
    """Queries and keys that a program holds, and its warps; as many as fit in registers."""
    if not multiplies_int8():  # nor has it other matrix units that Triton uses
        return 8 if num_rows <= SMALL_STEP_ROWS or block_d > 128 else 16, 16, 8
    if num_rows <= SMALL_STEP_ROWS:
        return 16, 32, 4 if block_d <= 128 else 8
    return 32, 32, 4 if block_d <= 64 else 8


def _check(q: torch.Tensor, pages: KVPages, visibility: Visibility, out: torch.Tensor) -> int:
    """The number of rows. Raises ShapeError unless the arguments fit together."""
    v = visibility
    num_rows, (num_sequences, most_pages) = len(v.sequences), v.page_tables.shape
    shape = (num_rows, q.shape[1], pages.head_size)
    expect_tensor("q", q, torch.float32, shape)
    expect_tensor("out", out, torch.float32, shape)
    expect_multiple("heads of q", q.shape[1], pages.num_heads)
    expect_multiple("page size", pages.page_size, _LEAST_KEYS)
    expect_tensor("sequences", v.sequences, torch.int32, (num_rows,))
    expect_tensor("page_tables", v.page_tables, torch.int32, (num_sequences, most_pages))
    expect_tensor("past", v.past, torch.int32, (num_sequences,))
    expect_tensor("num_new", v.num_new, torch.int32, (num_sequences,))
    expect_tensor("first_key", v.first_key, torch.int32, (num_rows,))
    expect_tensor("mask", v.mask, torch.bool, (num_rows, v.mask.shape[1]))
    return num_rows
