"""Pages of keys and values for tests: how they are filled, broken and copied."""

from dataclasses import replace

import numpy as np

from slipstream.cpu_kernels import KVPages, reference
from slipstream.cpu_kernels.kv_pages import KV_BITS, KV_BLOCK_DIMENSIONS

DTYPES = tuple(KV_BITS)
QUANTISED = tuple(dtype for dtype in DTYPES if dtype != "float16")
_ARRAYS = ("keys", "values", "key_scales", "value_scales")


def unreadable_pages(
    *, num_pages: int, num_heads: int, head_size: int, page_size: int, dtype: str
) -> KVPages:
    """Pages in which every number is NaN; in int8 and int4 that is NaN in the scales."""
    pages = KVPages.empty(
        num_pages=num_pages,
        num_heads=num_heads,
        head_size=head_size,
        page_size=page_size,
        dtype=dtype,
    )
    for array in arrays_of(pages).values():
        array[...] = np.nan if array.dtype == np.float16 else 77
    return pages


def arrays_of(pages: KVPages) -> dict[str, np.ndarray]:
    """The arrays that there are, by their names."""
    arrays = {name: getattr(pages, name) for name in _ARRAYS}
    return {name: array for name, array in arrays.items() if array is not None}


def copied(pages: KVPages) -> KVPages:
    """The same numbers in arrays of their own."""
    return replace(pages, **{name: array.copy() for name, array in arrays_of(pages).items()})


def store(
    pages: KVPages, keys: np.ndarray, values: np.ndarray, page_ids: np.ndarray, offsets: np.ndarray
) -> None:
    """Put keys and values (M, K, D) float32 at their places as they are, by the reference."""
    num_rows, _, size = keys.shape
    nothing = np.empty((num_rows, 0), np.float32)
    reference.rotate_and_store(
        np.concatenate([keys, values], axis=1).reshape(num_rows, -1),
        nothing,
        nothing,
        page_ids.astype(np.int32),
        offsets.astype(np.int32),
        interleaved=False,
        pages=pages,
        out=np.empty((num_rows, 0, size), np.float32),
    )


def break_number(
    pages: KVPages, what: str, page: int, offset: int, dimension: int, poison: float
) -> None:
    """Make one dimension of head 0's key or value `poison`, or where it has a scale, that."""
    array = getattr(pages, what)
    if pages.quantised:
        array = getattr(pages, {"keys": "key_scales", "values": "value_scales"}[what])
        dimension //= KV_BLOCK_DIMENSIONS
    if what == "keys":
        array[page, 0, dimension, offset] = poison
    else:
        array[page, 0, offset, dimension] = poison
