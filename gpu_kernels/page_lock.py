"""Memory of the host that the device reads and writes by itself, while the host goes on."""

import logging
import weakref
from collections.abc import Iterable

import numpy as np
import torch

from slipstream.gpu_kernels.device import compute_device

log = logging.getLogger(__name__)


class PageLock:
    """Locks arrays in memory until it goes: copies of others keep the host waiting.

    It keeps the arrays alive. What can't be locked is copied all the same, and a warning says so.
    Source: CUDA Runtime API, cudaHostRegister.
    """

    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self._buffers: dict[int, np.ndarray] = {}  # by address, of those that are locked
        if compute_device().type != "cuda":
            return
        refused = 0
        for buffer in {id(each): each for each in map(_buffer_of, arrays)}.values():
            address = buffer.ctypes.data
            if _register(address, buffer.nbytes):
                self._buffers[address] = buffer
                weakref.finalize(self, _unregister, address)
            else:
                refused += buffer.nbytes
        if refused:
            log.warning(
                "%.0f MB of weights and KV cache could not be locked in memory: the GPU reads "
                "prompts from them slower.",
                refused / 1e6,
            )


def _buffer_of(array: np.ndarray) -> np.ndarray:
    """The array whose memory it is a part of: parts may share pages, which are locked once."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _register(address: int, num_bytes: int) -> bool:
    return int(torch.cuda.cudart().cudaHostRegister(address, num_bytes, 0)) == 0


def _unregister(address: int) -> None:
    torch.cuda.cudart().cudaHostUnregister(address)
