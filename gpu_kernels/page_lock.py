"""Memory of the host that the device reads and writes by itself, while the host goes on."""

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import torch

from slipstream.gpu_kernels.device import compute_device

log = logging.getLogger(__name__)

_LOCK = threading.RLock()  # a finalizer may run wherever memory is asked for
_LOCKED: Counter[int] = Counter()  # locks on each buffer, by its address: models share buffers


class PageLock:
    """Locks arrays in memory until it goes: copies of others keep the host waiting.

    It keeps the arrays alive. What can't be locked is copied all the same, and a warning says so.
    Source: CUDA Runtime API, cudaHostRegister.
    """

    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self._buffers: list[np.ndarray] = []  # those that are locked
        if compute_device().type != "cuda":
            return
        refused = 0
        for buffer in {id(each): each for each in map(_buffer_of, arrays)}.values():
            address = buffer.ctypes.data
            if _lock(address, buffer.nbytes):
                self._buffers.append(buffer)
                unlock = weakref.finalize(self, _unlock, address)
                unlock.atexit = False  # a copy may be under way, and the system unlocks it
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


def _lock(address: int, num_bytes: int) -> bool:
    with _LOCK:
        _LOCKED[address] += 1
        if _LOCKED[address] > 1:
            return True
        if int(torch.cuda.cudart().cudaHostRegister(address, num_bytes, 0)) == 0:
            return True
        _LOCKED[address] -= 1
        # The refusal would be taken for an error of the next op; one that finds it clears it.
        with suppress(RuntimeError):
            torch.zeros(1, device=compute_device())
        return False


def _unlock(address: int) -> None:
    with _LOCK:
        _LOCKED[address] -= 1
        if not _LOCKED[address]:
            torch.cuda.cudart().cudaHostUnregister(address)
