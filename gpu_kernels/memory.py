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
    """Have allocations fail with DeviceMemoryError that would take more than this beside what is.

    `peak_bytes` counts from now on.
    """
    if compute_device().type != "cuda":
        return
    _, total = torch.cuda.mem_get_info(compute_device())
    allowed = torch.cuda.memory_allocated() + num_bytes
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
    torch.cuda.reset_peak_memory_stats()


def release_memory() -> None:
    """Give the system back what no tensor has, and lift the limit: for the whole process."""
    if compute_device().type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0)


def peak_bytes() -> int:
    """The most bytes of tensors on the device at a time, since `limit_bytes` was last called."""
    if compute_device().type != "cuda":
        return 0
    return int(torch.cuda.max_memory_allocated())
