"""Root-mean-square normalisation."""

import torch
import triton

from slipstream.cpu_kernels import RmsNorm
from slipstream.gpu_kernels.kernels import rms_norm as kernels
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.tensors import expect_tensor

_MOST_COLUMNS = 4096  # of a row that a program holds at once


def rms_norm(
    x: torch.Tensor, norm: RmsNorm, *, accumulate: bool = False, out: torch.Tensor
) -> torch.Tensor:
    """As `slipstream.cpu_kernels.reference.rms_norm`; a row is bit-identical whatever M is."""
    num_rows, columns = x.shape[0], x.shape[-1]
    expect_tensor("x", x, torch.float32, (num_rows, columns))
    expect_tensor("weight", norm.weight, torch.float32, (columns,))
    expect_tensor("out", out, torch.float32, (num_rows, columns))
    if num_rows:
        kernels.rms_norm[(num_rows,)](
            x,
            norm.weight,
            out,
            columns,
            norm.eps,
            ACCUMULATE=accumulate,
            BLOCK=min(_MOST_COLUMNS, triton.next_power_of_2(columns)),
            **EXACT,
        )
    return out
