"""One layer's keys and values on the device, in pages of tokens."""

from dataclasses import dataclass, field

import numpy as np
import torch

from slipstream.cpu_kernels import KVPages as HostPages
from slipstream.cpu_kernels import ShapeError
from slipstream.cpu_kernels.kv_pages import KV_BITS
from slipstream.gpu_kernels.device import compute_device
from slipstream.gpu_kernels.tensors import expect_tensor, from_host

_TYPES = {
    np.dtype(np.float16): torch.float16,
    np.dtype(np.uint32): torch.int32,  # the same bits
    np.dtype(np.int8): torch.int8,
    np.dtype(np.uint8): torch.uint8,
}


@dataclass(frozen=True, kw_only=True)
class KVPages:
    """As `slipstream.cpu_kernels.KVPages`, with the same layout, so that pages can change places.

    The words of int8 and int4 keys are int32 here.
    """

    keys: torch.Tensor = field(repr=False)
    values: torch.Tensor = field(repr=False)
    key_scales: torch.Tensor | None = field(repr=False, default=None)
    value_scales: torch.Tensor | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        """Raises ShapeError for tensors that kernels, which go by address, would misread."""
        none = HostPages.empty(
            num_pages=0,
            num_heads=self.num_heads,
            head_size=self.head_size,
            page_size=self.page_size,
            dtype=self.dtype,
        )
        for name in ("keys", "values", "key_scales", "value_scales"):
            tensor, wanted = getattr(self, name), getattr(none, name)
            if (tensor is None) != (wanted is None):
                raise ShapeError(
                    f"{name} of KV pages: expected scales beside integers and no others"
                )
            if tensor is not None:
                shape = (len(self.values), *wanted.shape[1:])
                expect_tensor(f"{name} of KV pages", tensor, _TYPES[wanted.dtype], shape)

    @classmethod
    def empty(
        cls, *, num_pages: int, num_heads: int, head_size: int, page_size: int, dtype: str
    ) -> "KVPages":
        """Uninitialised pages. Raises ShapeError for a dtype or heads that can't be."""
        none = HostPages.empty(
            num_pages=0, num_heads=num_heads, head_size=head_size, page_size=page_size, dtype=dtype
        )

        def empty_as(array: np.ndarray | None) -> torch.Tensor | None:
            if array is None:
                return None
            shape = (num_pages, *array.shape[1:])
            return torch.empty(shape, dtype=_TYPES[array.dtype], device=compute_device())

        keys, values = empty_as(none.keys), empty_as(none.values)
        assert keys is not None
        assert values is not None
        return cls(
            keys=keys,
            values=values,
            key_scales=empty_as(none.key_scales),
            value_scales=empty_as(none.value_scales),
        )

    @classmethod
    def from_host(cls, host: HostPages) -> "KVPages":
        """A copy on the device."""
        return cls(
            keys=from_host(host.keys),
            values=from_host(host.values),
            key_scales=None if host.key_scales is None else from_host(host.key_scales),
            value_scales=None if host.value_scales is None else from_host(host.value_scales),
        )

    @property
    def dtype(self) -> str:
        """One of the names of `KV_BITS`."""
        return {torch.int8: "int8", torch.uint8: "int4"}.get(self.values.dtype, "float16")

    @property
    def bits(self) -> int:
        """Of a number."""
        return KV_BITS[self.dtype]

    @property
    def quantised(self) -> bool:
        return self.key_scales is not None

    @property
    def num_heads(self) -> int:
        return int(self.values.shape[1])

    @property
    def page_size(self) -> int:
        return int(self.values.shape[2])

    @property
    def head_size(self) -> int:
        return int(self.values.shape[3]) * (2 if self.dtype == "int4" else 1)

    @property
    def num_bytes(self) -> int:
        arrays = (self.keys, self.values, self.key_scales, self.value_scales)
        return sum(int(array.nbytes) for array in arrays if array is not None)

    def copy_pages(self, source: list[int], target: list[int]) -> None:
        """Copy whole pages."""
        for array in (self.keys, self.values, self.key_scales, self.value_scales):
            if array is not None:
                array[target] = array[source]

    def move(
        self, source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Copy tokens from (pages, offsets) to (pages, offsets), each (T,)."""
        (by, was), (to, at) = map(_index_tensors, source), map(_index_tensors, target)
        for array in (self.keys, self.key_scales):
            if array is not None:
                array[to, :, :, at] = array[by, :, :, was]
        for array in (self.values, self.value_scales):
            if array is not None:
                array[to, :, at] = array[by, :, was]


def _index_tensors(places: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(places, dtype=torch.int64, device=compute_device())
