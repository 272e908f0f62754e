"""The buffers of a step."""

import math
from collections.abc import Callable
from typing import Any

from slipstream.runtime.backends import Backend

ROWS_AT_LEAST = 64  # of a buffer for more than one: steps that may be kept never outgrow it
_MOST_VIEWS = 256  # steps of every size would keep one each


class Workspace:
    """Float32 buffers by name, kept between steps so that a step allocates nothing large."""

    def __init__(self, empty: Callable[[int], Any]) -> None:
        """empty : makes a device's array of so many numbers"""
        self._empty = empty
        self._buffers: dict[str, Any] = {}
        self._arrays: dict[tuple[str, tuple[int, ...]], Any] = {}  # views of the buffers

    def take(self, name: str, *shape: int) -> Any:
        """An uninitialised C-contiguous array, rows first.

        The next `take` of the name reuses its memory. What no step used was never touched, and
        takes no room.
        """
        array = self._arrays.get((name, shape))
        if array is None:
            size = math.prod(shape)
            held = self._buffers.get(name)
            if held is None or len(held) < size:
                rows = max(shape[0], ROWS_AT_LEAST) if shape[0] > 1 else 1
                room = rows * math.prod(shape[1:])
                held = self._buffers[name] = self._empty(room)
                self._arrays = {key: view for key, view in self._arrays.items() if key[0] != name}
            if len(self._arrays) > _MOST_VIEWS:
                self._arrays.clear()
            array = self._arrays[name, shape] = held[:size].reshape(shape)
        return array


class Workspaces:
    """Workspaces on the devices of a model, and for what comes from them to the host."""

    def __init__(self) -> None:
        self._of: dict[Backend, Workspace] = {}
        self._from: dict[Backend, Workspace] = {}

    def of(self, backend: Backend) -> Workspace:
        """On the device."""
        if backend not in self._of:
            self._of[backend] = Workspace(backend.ops.empty)
        return self._of[backend]

    def copied_from(self, backend: Backend) -> Workspace:
        """In host memory, for what comes from the device."""
        if backend not in self._from:
            self._from[backend] = Workspace(backend.ops.empty_host)
        return self._from[backend]
