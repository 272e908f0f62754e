"""Tensors on the device: how they get there and back, and what kernels may be given.

Kernels go by address: a tensor of another dtype, layout or device would be misread, not refused.
"""

import numpy as np
import torch

from slipstream.cpu_kernels import ShapeError
from slipstream.gpu_kernels.device import compute_device
from slipstream.gpu_kernels.staging import STAGING


def empty(*shape: int) -> torch.Tensor:
    """An uninitialised float32 tensor on the device."""
    return torch.empty(shape, dtype=torch.float32, device=compute_device())


def empty_host(*shape: int) -> np.ndarray:
    """An uninitialised float32 array of the host that copies from the device fill directly."""
    pinned = compute_device().type == "cuda"
    host: np.ndarray = torch.empty(shape, dtype=torch.float32, pin_memory=pinned).numpy()
    return host


def from_host(array: np.ndarray, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """A copy of a host array on the device; uint32 is held as int32 of the same bits.

    out : float32 of the array's shape that takes the copy; it comes in its turn among the device's
          work, and the array may change at once
    """
    if out is not None:
        return STAGING.copy(array, out)
    if array.dtype == np.uint32:
        array = array.view(np.int32)
    # A read-only array, as of a mapped file, would make torch warn; nothing writes through it.
    source = torch.from_numpy(np.array(array, copy=not array.flags.writeable))
    return source.to(compute_device(), copy=True)


def to_host(tensor: torch.Tensor, *, out: np.ndarray | None = None) -> np.ndarray:
    """A copy in host memory, in `out` if given; waits until the device has computed it."""
    if out is not None:
        torch.from_numpy(out).copy_(tensor)
        return out
    host: np.ndarray = tensor.detach().to("cpu", copy=True).numpy()
    return host


def synchronize() -> None:
    """Wait until the device has done what it was given to run in turn, as all ops are.

    Not for the whole device: another thread may be capturing, which that would end.
    """
    if compute_device().type == "cuda":
        torch.cuda.current_stream().synchronize()


def expect_tensor(name: str, got: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless `got` is C-contiguous, of this dtype and shape, on the device."""
    device = compute_device()
    if got.device != device:
        raise ShapeError(f"{name}: expected a tensor on {device}, got one on {got.device}")
    if tuple(got.shape) == shape and got.dtype == dtype and got.is_contiguous():
        return
    layout = "C-contiguous" if got.is_contiguous() else "not C-contiguous"
    raise ShapeError(
        f"{name}: expected C-contiguous {_plain(dtype)} of shape {shape}, got {layout} "
        f"{_plain(got.dtype)} of shape {tuple(got.shape)}"
    )


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
