"""The buffers of a step."""

import math

import numpy as np

ROWS_AT_LEAST = 64  # of a buffer for more than one: steps that may be kept never outgrow it
_MOST_VIEWS = 256  # steps of every size would keep one each


class Workspace:
    """Float32 buffers by name, kept between steps so that a step allocates nothing large."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}
        self._arrays: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}  # views of the buffers

    def take(self, name: str, *shape: int) -> np.ndarray:
        """An uninitialised C-contiguous array, rows first.

        The next `take` of the name reuses its memory. What no step used was never touched, and
        takes no room.
        """
        array = self._arrays.get((name, shape))
        if array is None:
            size = math.prod(shape)
            held = self._buffers.get(name)
            if held is None or held.size < size:
                rows = max(shape[0], ROWS_AT_LEAST) if shape[0] > 1 else 1
                room = rows * math.prod(shape[1:])
                held = self._buffers[name] = np.empty(room, np.float32)
                self._arrays = {key: view for key, view in self._arrays.items() if key[0] != name}
            if len(self._arrays) > _MOST_VIEWS:
                self._arrays.clear()
            array = self._arrays[name, shape] = held[:size].reshape(shape)
        return array
