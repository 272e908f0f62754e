"""The largest numbers of rows."""

import torch
import triton

from slipstream.cpu_kernels import ShapeError
from slipstream.gpu_kernels.kernels import top_k as kernels
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.tensors import expect_tensor

_STRETCH = 4096  # columns that one program looks through
_MOST_CANDIDATES = 1 << 17  # that one program looks through then


def top_k(x: torch.Tensor, k: int, *, ids: torch.Tensor, out: torch.Tensor) -> None:
    """As `slipstream.cpu_kernels.reference.top_k`, for k of up to 131,072 * 4,096 / C."""
    expect_tensor("x", x, torch.float32, tuple(x.shape))
    if x.ndim != 2 or not 1 <= k <= x.shape[1]:
        raise ShapeError(
            f"top_k: expected 1 to {x.shape[-1]} of rows (M, C), got {k} of {tuple(x.shape)}"
        )
    num_rows, columns = x.shape
    expect_tensor("ids", ids, torch.int32, (num_rows, k))
    expect_tensor("out", out, torch.float32, (num_rows, k))
    if num_rows == 0:
        return
    block = min(_STRETCH, triton.next_power_of_2(columns))
    stretches = triton.cdiv(columns, block)
    if stretches * k > _MOST_CANDIDATES:
        raise ShapeError(f"top_k: expected k up to {_MOST_CANDIDATES // stretches}, got {k}")
    candidate_ids = ids.new_empty((num_rows, stretches * k))
    candidates = out.new_empty((num_rows, stretches * k))
    kernels.top_of_stretches[(num_rows, stretches)](
        x, candidate_ids, candidates, columns, K=k, BLOCK=block, **EXACT
    )
    kernels.top_of_candidates[(num_rows,)](
        candidate_ids,
        candidates,
        ids,
        out,
        stretches * k,
        K=k,
        BLOCK=triton.next_power_of_2(stretches * k),
        **EXACT,
    )
