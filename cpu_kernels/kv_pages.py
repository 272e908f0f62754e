"""One layer's keys and values, in pages of tokens."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from slipstream.cpu_kernels.errors import ShapeError

KV_BLOCK_DIMENSIONS = 32  # of a head that share a scale in int8
_DTYPES = ("float16", "int8")


# What kernels know of the pages; an address is 0 where there are no scales.
KV_LAYOUT = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("keys", "values", "key_scales", "value_scales"),  # addresses
            *("num_heads", "head_size", "page_size", "is_int8"),
        )
    ]
)


@dataclass(frozen=True, kw_only=True)
class KVPages:
    """P pages of `page_size` tokens for K heads of D dimensions.

    In float16, with no scales:
    keys   : (P, K, D, page_size) float16; transposed, so that 16 keys are one vector
    values : (P, K, page_size, D) float16
    In int8, 32 dimensions a scale, number = scale * int8, scale = max / 127:
    keys         : (P, K, D / 4, page_size) uint32, the bytes of 4 dimensions, each int8 + 128
    values       : (P, K, page_size, D) int8
    key_scales   : (P, K, D / 32, page_size) float16
    value_scales : (P, K, page_size, D / 32) float16
    """

    keys: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    key_scales: np.ndarray | None = field(repr=False, default=None)
    value_scales: np.ndarray | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        """Raises ShapeError for arrays that kernels, which go by address, would misread."""
        p, k, page_size, d = self.values.shape
        quantised = self.key_scales is not None
        blocks = d // KV_BLOCK_DIMENSIONS
        expected = {
            "keys": ((p, k, d // 4, page_size), np.uint32)
            if quantised
            else ((p, k, d, page_size), np.float16),
            "values": ((p, k, page_size, d), np.int8 if quantised else np.float16),
            "key_scales": ((p, k, blocks, page_size), np.float16) if quantised else None,
            "value_scales": ((p, k, page_size, blocks), np.float16) if quantised else None,
        }
        for name, want in expected.items():
            array = getattr(self, name)
            got = None if array is None else (array.shape, array.dtype)
            if got != want or (array is not None and not array.flags.c_contiguous):
                raise ShapeError(f"{name} of KV pages: expected C-contiguous {want}, got {got}")

    @classmethod
    def empty(
        cls, *, num_pages: int, num_heads: int, head_size: int, page_size: int, dtype: str
    ) -> "KVPages":
        """Uninitialised pages. Raises ShapeError for a dtype or heads that can't be."""
        _check_dtype(dtype)
        p, k, d = num_pages, num_heads, head_size
        if dtype == "float16":
            return cls(
                keys=np.empty((p, k, d, page_size), np.float16),
                values=np.empty((p, k, page_size, d), np.float16),
            )
        if d % KV_BLOCK_DIMENSIONS:
            raise ShapeError(
                f"KV cache in int8: expected heads of a multiple of {KV_BLOCK_DIMENSIONS} "
                f"dimensions, got {d}"
            )
        blocks = d // KV_BLOCK_DIMENSIONS
        return cls(
            keys=np.empty((p, k, d // 4, page_size), np.uint32),
            values=np.empty((p, k, page_size, d), np.int8),
            key_scales=np.empty((p, k, blocks, page_size), np.float16),
            value_scales=np.empty((p, k, page_size, blocks), np.float16),
        )

    @cached_property
    def quantised(self) -> bool:
        return self.key_scales is not None

    @cached_property
    def num_heads(self) -> int:
        return int(self.values.shape[1])

    @cached_property
    def page_size(self) -> int:
        return int(self.values.shape[2])

    @cached_property
    def head_size(self) -> int:
        return int(self.values.shape[3])

    def copy_pages(self, source: list[int], target: list[int]) -> None:
        """Copy whole pages."""
        for array in (self.keys, self.values, self.key_scales, self.value_scales):
            if array is not None:
                array[target] = array[source]

    def move(
        self, source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Copy tokens from (pages, offsets) to (pages, offsets), each (T,)."""
        (by, was), (to, at) = source, target
        for array in (self.keys, self.key_scales):
            if array is not None:
                array[to, :, :, at] = array[by, :, :, was]
        for array in (self.values, self.value_scales):
            if array is not None:
                array[to, :, at] = array[by, :, was]

    @cached_property
    def record(self) -> np.ndarray:
        """The pages as kernels find them, () of `KV_LAYOUT`."""
        addresses = [
            0 if array is None else array.ctypes.data
            for array in (self.keys, self.values, self.key_scales, self.value_scales)
        ]
        sizes = (self.num_heads, self.head_size, self.page_size, self.quantised)
        return np.array((*addresses, *sizes), KV_LAYOUT)


def kv_bytes_per_token(num_heads: int, head_size: int, dtype: str) -> int:
    """Bytes that a token's key and value take in one layer."""
    _check_dtype(dtype)
    if dtype == "float16":
        return 4 * num_heads * head_size
    return 2 * num_heads * (head_size + 2 * (head_size // KV_BLOCK_DIMENSIONS))


def _check_dtype(dtype: str) -> None:
    if dtype not in _DTYPES:
        raise ShapeError(f"KV pages: expected one of {', '.join(_DTYPES)}, got {dtype!r}")
