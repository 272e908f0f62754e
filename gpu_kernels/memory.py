"""The device's memory: how much is free, how much of it was used, and how much may be."""

import os

import torch

from slipstream.gpu_kernels.device import compute_device

# Raised by every op, and where a tensor is brought to the device, when there is no memory left.
DeviceMemoryError = torch.OutOfMemoryError


def free_bytes() -> int:
    """Bytes that this process could have of the device's memory, those it keeps for later too."""
    if compute_device().type != "cuda":  # in the interpreter the host's memory stands for it
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free, _ = torch.cuda.mem_get_info(compute_device())
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(free + kept)


def limit_bytes(num_bytes: int) -> None:
    """Have allocations fail with DeviceMemoryError that would take more than this in all."""
    if compute_device().type == "cuda":
        _, total = torch.cuda.mem_get_info(compute_device())
        torch.cuda.set_per_process_memory_fraction(min(1.0, num_bytes / total))


def peak_bytes() -> int:
    """The most bytes of tensors that this process has had on the device at a time."""
    if compute_device().type != "cuda":
        return 0
    return int(torch.cuda.max_memory_allocated())
