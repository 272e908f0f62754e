"""Copies to the device that the host does not wait for."""

import threading

import numpy as np
import torch

from slipstream.gpu_kernels.device import compute_device

_NUM_BUFFERS = 4  # copies under way at a time, before one has to wait for the first


class _Buffer:
    """Pinned memory: the device reads it by itself, when the work before the copy is done."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._read = torch.cuda.Event()  # the last copy out of it

    def copy(self, array: np.ndarray, out: torch.Tensor) -> None:
        self._read.synchronize()
        if len(self._bytes) < array.nbytes:
            self._bytes = torch.empty(array.nbytes, dtype=torch.uint8, pin_memory=True)
        held = self._bytes[: array.nbytes].view(out.dtype).view(out.shape)
        np.copyto(held.numpy(), array.view(held.numpy().dtype))
        out.copy_(held, non_blocking=True)
        self._read.record()


class Staging:
    """Takes an array in, so that it may change at once, and copies it to the device in its turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a draft and its target may copy at a time
        self._buffers: list[_Buffer] = []
        self._next = 0

    def copy(self, array: np.ndarray, out: torch.Tensor) -> torch.Tensor:
        """`out`, which will hold the bits of `array`: of as many bytes an element, and as large."""
        if compute_device().type != "cuda":
            return out.copy_(torch.from_numpy(array).view(out.dtype))
        with self._lock:
            if len(self._buffers) < _NUM_BUFFERS:
                self._buffers.append(_Buffer())
            self._next = (self._next + 1) % len(self._buffers)
            self._buffers[self._next].copy(array, out)
        return out


STAGING = Staging()
