"""A gated blend of two rows of numbers; of one with itself as gate, SiLU."""

import torch
import triton

from slipstream.cpu_kernels.errors import expect_matrix
from slipstream.gpu_kernels.kernels import blend_gated as kernels
from slipstream.gpu_kernels.rounding import EXACT
from slipstream.gpu_kernels.tensors import expect_tensor

_BLOCK = 1024  # numbers that a program makes


def blend_gated(
    gate: torch.Tensor, a: torch.Tensor, b: torch.Tensor | None = None, *, out: torch.Tensor
) -> torch.Tensor:
    """As `slipstream.cpu_kernels.reference.blend_gated`; a row is bit-identical whatever M is."""
    shape = expect_matrix("gate", tuple(gate.shape))
    expect_tensor("gate", gate, torch.float32, shape)
    expect_tensor("a", a, torch.float32, shape)
    if b is not None:
        expect_tensor("b", b, torch.float32, shape)
    expect_tensor("out", out, torch.float32, shape)
    count = gate.numel()
    if count:
        kernels.blend_gated[(triton.cdiv(count, _BLOCK),)](
            gate, a, b, out, count, BLOCK=_BLOCK, **EXACT
        )
    return out
