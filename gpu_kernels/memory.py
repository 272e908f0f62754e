"""The device's memory: how much is free, how much of it was used, and how much may be."""

import os

import torch

from slipstream.gpu_kernels.device import compute_device

# Raised by every op, and where a tensor is brought to the device, when there is no memory left.
DeviceMemoryError = torch.OutOfMemoryError

_BUDGETS: list[int] = []  # of the models that are loaded


def free_bytes() -> int:
    """Bytes that this process could have of the device's memory, those it keeps for later too."""
    if compute_device().type != "cuda":  # in the interpreter the host's memory stands for it
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free, _ = torch.cuda.mem_get_info(compute_device())
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(free + kept)


def limit_bytes(num_bytes: int) -> None:
    """Have allocations fail with DeviceMemoryError that would take more than this beside others'.

    Others' are the budgets given before, or what is allocated where that is more. `peak_bytes`
    counts from now on.
    """
    if compute_device().type == "cuda":
        _BUDGETS.append(num_bytes)
        _allow(max(sum(_BUDGETS), torch.cuda.memory_allocated() + num_bytes))
        torch.cuda.reset_peak_memory_stats()


def release_bytes(num_bytes: int) -> None:
    """End a budget of `limit_bytes`, and give the system back what no tensor has.

    Without any budget left there is no limit.
    """
    if compute_device().type == "cuda":
        _BUDGETS.remove(num_bytes)
        release_unused()
        _allow(max(sum(_BUDGETS), torch.cuda.memory_allocated()) if _BUDGETS else None)


def release_unused() -> None:
    """Give the system back what no tensor has; a capture can't do so by itself."""
    if compute_device().type == "cuda":
        torch.cuda.empty_cache()


def _allow(num_bytes: int | None) -> None:
    """So many bytes of all tensors; None is all that there are."""
    _, total = torch.cuda.mem_get_info(compute_device())
    share = 1.0 if num_bytes is None else min(1.0, num_bytes / total)
    torch.cuda.set_per_process_memory_fraction(share)


def peak_bytes() -> int:
    """The most bytes of tensors on the device at a time, since `limit_bytes` was last called."""
    if compute_device().type != "cuda":
        return 0
    return int(torch.cuda.max_memory_allocated())
