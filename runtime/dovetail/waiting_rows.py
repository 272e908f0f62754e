"""Hidden states that a draft has not read yet."""

from collections import deque

import numpy as np


class WaitingRows:
    """A queue of rows (C,) float32, kept in the pieces in which they came."""

    def __init__(self) -> None:
        self._pieces: deque[np.ndarray] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, rows: np.ndarray) -> None:
        """rows : (T, C), which nobody else writes to"""
        self._pieces.append(rows if rows.base is None else rows.copy())  # not to keep all of it
        self._length += len(rows)

    def take(self, count: int) -> np.ndarray:
        """The first rows, (count, C), which then no longer wait."""
        taken: list[np.ndarray] = []
        missing = count
        while missing:
            piece = self._pieces.popleft()
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
                piece = piece[:missing]
            taken.append(piece)
            missing -= len(piece)
        self._length -= count
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def clear(self) -> None:
        self._pieces.clear()
        self._length = 0
