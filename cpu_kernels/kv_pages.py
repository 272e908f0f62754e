"""One layer's keys and values, in pages of tokens."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from slipstream.cpu_kernels.errors import ShapeError

KV_BLOCK_DIMENSIONS = 32  # of a head that share a scale
KV_BITS = {"float16": 16, "int8": 8, "int4": 4}  # of a number, by the names of dtypes
TO_PAGES, FROM_PAGES = 0.125, 0.25  # factors of int4's transform, see reference.kv_blocks


# What kernels know of the pages; an address is 0 where there are no scales.
KV_LAYOUT = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("keys", "values", "key_scales", "value_scales"),  # addresses
            *("num_heads", "head_size", "page_size", "bits"),
        )
    ]
)


@dataclass(frozen=True, kw_only=True)
class KVPages:
    """P pages of `page_size` tokens for K heads of D dimensions, in one of the dtypes of `KV_BITS`.

    In float16, with no scales:
    keys   : (P, K, D, page_size) float16; transposed, so that 16 keys are one vector
    values : (P, K, page_size, D) float16
    In int8 and int4, 32 dimensions a scale; what the integers are, `reference.kv_blocks` says:
    keys         : int8 (P, K, D / 4, page_size), int4 (P, K, D / 8, page_size) uint32
    values       : int8 (P, K, page_size, D) int8, int4 (P, K, page_size, D / 2) uint8
    key_scales   : (P, K, D / 32, page_size) float16
    value_scales : (P, K, page_size, D / 32) float16
    The 4 bytes of a word of keys are those of consecutive dimensions. In int8 they hold int8 + 128.
    In int4 a byte, of keys or values, holds two numbers, each int4 + 8: of a block's 16 bytes the
    low halves are its first 16 dimensions, the high halves the others.
    """

    keys: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    key_scales: np.ndarray | None = field(repr=False, default=None)
    value_scales: np.ndarray | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        """Raises ShapeError for arrays that kernels, which go by address, would misread."""
        p, k, page_size = self.values.shape[:3]
        wanted = _arrays(self.dtype, p, k, page_size, self.head_size)
        for name in ("keys", "values", "key_scales", "value_scales"):
            array, want = getattr(self, name), wanted.get(name)
            got = None if array is None else (array.shape, array.dtype)
            if got != want or (array is not None and not array.flags.c_contiguous):
                raise ShapeError(f"{name} of KV pages: expected C-contiguous {want}, got {got}")

    @classmethod
    def empty(
        cls, *, num_pages: int, num_heads: int, head_size: int, page_size: int, dtype: str
    ) -> "KVPages":
        """Uninitialised pages. Raises ShapeError for a dtype or heads that can't be."""
        _check_dtype(dtype)
        if dtype != "float16" and head_size % KV_BLOCK_DIMENSIONS:
            raise ShapeError(
                f"KV cache in {dtype}: expected heads of a multiple of {KV_BLOCK_DIMENSIONS} "
                f"dimensions, got {head_size}"
            )
        arrays = _arrays(dtype, num_pages, num_heads, page_size, head_size)
        return cls(**{name: np.empty(shape, kind) for name, (shape, kind) in arrays.items()})

    @cached_property
    def dtype(self) -> str:
        """One of the names of `KV_BITS`."""
        return {np.int8: "int8", np.uint8: "int4"}.get(self.values.dtype.type, "float16")

    @cached_property
    def bits(self) -> int:
        """Of a number."""
        return KV_BITS[self.dtype]

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
        return int(self.values.shape[3]) * (2 if self.dtype == "int4" else 1)

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
        sizes = (self.num_heads, self.head_size, self.page_size, self.bits)
        return np.array((*addresses, *sizes), KV_LAYOUT)


def kv_bytes_per_token(num_heads: int, head_size: int, dtype: str) -> int:
    """Bytes that a token's key and value take in one layer."""
    _check_dtype(dtype)
    scales = 0 if dtype == "float16" else 2 * (head_size // KV_BLOCK_DIMENSIONS)
    return 2 * num_heads * (head_size * KV_BITS[dtype] // 8 + scales)


def _arrays(
    dtype: str, p: int, k: int, page_size: int, d: int
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each array that there is, by its name."""
    half, word = np.dtype(np.float16), np.dtype(np.uint32)
    if dtype == "float16":
        return {
            "keys": ((p, k, d, page_size), half),
            "values": ((p, k, page_size, d), half),
        }
    bits, blocks = KV_BITS[dtype], d // KV_BLOCK_DIMENSIONS
    return {
        "keys": ((p, k, d * bits // 32, page_size), word),
        "values": ((p, k, page_size, d * bits // 8), np.dtype(np.int8 if bits == 8 else np.uint8)),
        "key_scales": ((p, k, blocks, page_size), half),
        "value_scales": ((p, k, page_size, blocks), half),
    }


def _check_dtype(dtype: str) -> None:
    if dtype not in KV_BITS:
        raise ShapeError(f"KV pages: expected one of {', '.join(KV_BITS)}, got {dtype!r}")
