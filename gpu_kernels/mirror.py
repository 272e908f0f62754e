"""Small arrays of the host that every step changes, on the device: one copy for all of them."""

import numpy as np
import torch

from slipstream.gpu_kernels.device import compute_device
from slipstream.gpu_kernels.staging import STAGING

_CHUNK_BYTES = 1 << 16
_ALIGNMENT = 16  # bytes


class _Chunk:
    """Memory on the device, and its image in the host's."""

    def __init__(self, num_bytes: int) -> None:
        self.image = np.zeros(num_bytes, np.uint8)
        self.on_device = torch.empty(num_bytes, dtype=torch.uint8, device=compute_device())
        self.used = 0
        self.arrays: list[tuple[np.ndarray, np.ndarray]] = []  # the host's, and where its image is

    def add(self, array: np.ndarray) -> torch.Tensor:
        start, end = self.used, self.used + array.nbytes
        self.used = -(-end // _ALIGNMENT) * _ALIGNMENT
        image = self.image[start:end].view(array.dtype).reshape(array.shape)
        self.arrays.append((array, image))
        dtype = torch.from_numpy(image).dtype
        tensor = self.on_device[start:end].view(dtype).view(array.shape)
        return STAGING.copy(array, tensor)

    def renew(self) -> None:
        for array, image in self.arrays:
            image[...] = array
        STAGING.copy(self.image[: self.used], self.on_device[: self.used])


class Mirror:
    """Arrays of the host, and tensors on the device that hold the same once `renew` is called.

    num_bytes : that `renew` brings
    """

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []

    def add(self, array: np.ndarray) -> torch.Tensor:
        """A tensor that holds what the C-contiguous `array` holds now, and after `renew` then."""
        if not self._chunks or self._chunks[-1].used + array.nbytes > _CHUNK_BYTES:
            self._chunks.append(_Chunk(max(_CHUNK_BYTES, array.nbytes)))
        return self._chunks[-1].add(array)

    def renew(self) -> None:
        """Bring all arrays to the device as they now are."""
        for chunk in self._chunks:
            chunk.renew()

    @property
    def num_bytes(self) -> int:
        return sum(chunk.used for chunk in self._chunks)
