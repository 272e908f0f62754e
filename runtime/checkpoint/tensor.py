"""A weight tensor as it lies in a model file."""

from dataclasses import dataclass

import numpy as np

from slipstream.cpu_kernels.quant_types import QuantType


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A named tensor, still in its stored form.

    shape : NumPy order (.., rows, columns): the reverse of the order in the file
    data  : uint8 (product of shape[:-1], row_bytes), a read-only view of the mapped file
    """

    name: str
    quant_type: QuantType
    shape: tuple[int, ...]
    data: np.ndarray

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return self.data.nbytes
