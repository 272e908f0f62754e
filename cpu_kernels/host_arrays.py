"""Arrays in the memory that a backend computes in; the CPU's backends compute in the host's.

Every backend has these names, so that a step can go on with another one.
"""

import numpy as np


def empty(*shape: int) -> np.ndarray:
    """An uninitialised float32 array."""
    return np.empty(shape, np.float32)


def from_host(array: np.ndarray) -> np.ndarray:
    """The array itself."""
    return array


def to_host(array: np.ndarray) -> np.ndarray:
    """The array itself."""
    return array


def synchronize() -> None:
    """Nothing: ops are done when they return."""


class Mirror:
    """Arrays of the host as a device has them: here they are the same."""

    num_bytes = 0  # that `renew` brings to the device

    def add(self, array: np.ndarray) -> np.ndarray:
        """The array on the device, where `renew` brings what the host's has become."""
        return array

    def renew(self) -> None:
        """Bring all arrays to the device as they now are."""
