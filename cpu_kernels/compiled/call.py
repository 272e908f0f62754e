"""A kernel with the record of what it works on."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from slipstream.cpu_kernels.compiled.kernel_library import Kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A kernel, its record's address, and the arrays that the record names, kept alive."""

    kernel: Kernel
    record: int  # address
    held: tuple[Any, ...]

    @classmethod
    def of(cls, kernel: Kernel, layout: np.dtype, *owners: Any, **values: Any) -> Self:
        """A call with the values of a record; an array becomes its address, None becomes 0.

        layout : one of `records`; every field must be given
        owners : of memory that the arrays in turn hold addresses of
        """
        record = record_of(layout, **values)
        return cls(
            kernel=kernel, record=record.ctypes.data, held=(record, *values.values(), *owners)
        )

    def run(self, state: int) -> None:
        """Run the kernel.

        state : address of what its threads share, see worker_state
        """
        if self.kernel.call(state, self.record):
            raise RuntimeError("a kernel failed")  # they are written so that none can


def record_of(layout: np.dtype, **values: Any) -> np.ndarray:
    """A record with these values, as `Call.of` takes them."""
    if values.keys() != set(layout.names or ()):
        raise TypeError(f"expected the fields {layout.names}, got {tuple(values)}")
    return np.array(tuple(_word(values[name]) for name in layout.names or ()), layout)


def _word(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.__array_interface__["data"][0]
    return 0 if value is None else value
