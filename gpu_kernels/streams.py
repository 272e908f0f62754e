"""CUDA streams and events for copies beside the ops.

Where the host's memory stands for the device's, all is done as it is called.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from slipstream.gpu_kernels.device import compute_device


class CopyStream:
    """A queue of the device's work beside that of the ops."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream() if compute_device().type == "cuda" else None

    def current(self) -> AbstractContextManager[object]:
        """What is called within goes to this queue."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


class Event:
    """A moment in a queue, that others can wait for; one that was never recorded is over."""

    def __init__(self) -> None:
        self._event = torch.cuda.Event() if compute_device().type == "cuda" else None

    def record(self) -> None:
        """It is when all is done that the caller's queue has been given so far."""
        if self._event is not None:
            self._event.record()

    def wait(self) -> None:
        """What the caller's queue is given from now on begins after it; the host goes on."""
        if self._event is not None:
            self._event.wait()

    def synchronize(self) -> None:
        """Have the host wait for it."""
        if self._event is not None:
            self._event.synchronize()
