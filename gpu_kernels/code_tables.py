"""The numbers that codes stand for, on the device."""

from functools import cache

import torch

from slipstream.gpu_kernels.device import compute_device


@cache
def code_table(numbers: tuple[int, ...]) -> torch.Tensor:
    """(16,) uint8."""
    return torch.tensor(numbers, dtype=torch.uint8, device=compute_device())
