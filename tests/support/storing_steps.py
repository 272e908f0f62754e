"""What `rotate_and_store` is given in tests, and the pages that it fills."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from slipstream.cpu_kernels import KVPages
from support.stored_keys import arrays_of, unreadable_pages

NUM_HEADS, NUM_KV_HEADS = 6, 3
PAGE = 16
NUM_PAGES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What `rotate_and_store` gets, beside pages and out."""

    qkv: np.ndarray
    cos: np.ndarray
    sin: np.ndarray
    page_ids: np.ndarray
    offsets: np.ndarray
    options: dict[str, Any]

    def first(self, rows: int) -> "Step":
        names = ("qkv", "cos", "sin", "page_ids", "offsets")
        return replace(self, **{name: getattr(self, name)[:rows] for name in names})

    def run(self, ops: ModuleType, pages: KVPages, num_heads: int = NUM_HEADS) -> np.ndarray:
        out = np.full((len(self.qkv), num_heads, pages.head_size), np.nan, np.float32)
        result = ops.rotate_and_store(
            self.qkv,
            self.cos,
            self.sin,
            self.page_ids,
            self.offsets,
            pages=pages,
            out=out,
            **self.options,
        )
        assert result is out
        return out


def make_step(rows: int, head_size: int, half: int, **options: Any) -> Step:
    """Random numbers, angles of far positions, and places that lie all over the pages."""
    rng = np.random.default_rng(head_size + half)
    places = rng.permutation(NUM_PAGES * PAGE)[:rows].astype(np.int32)
    angles = rng.uniform(0, 1e4, (rows, half))
    width = (NUM_HEADS + 2 * NUM_KV_HEADS) * head_size
    return Step(
        qkv=rng.standard_normal((rows, width)).astype(np.float32),
        cos=np.cos(angles).astype(np.float32),
        sin=np.sin(angles).astype(np.float32),
        page_ids=(places // PAGE).astype(np.int32),
        offsets=(places % PAGE).astype(np.int32),
        options={"interleaved": False} | options,
    )


def as_it_is(qkv: np.ndarray, page_ids: list[int], offsets: list[int]) -> Step:
    """Rows that are rotated by nothing: cos = 1, sin = 0."""
    return Step(
        qkv=qkv,
        cos=np.ones((len(qkv), 1), np.float32),
        sin=np.zeros((len(qkv), 1), np.float32),
        page_ids=np.array(page_ids, np.int32),
        offsets=np.array(offsets, np.int32),
        options={"interleaved": False},
    )


def new_pages(dtype: str, head_size: int, num_heads: int = NUM_KV_HEADS) -> KVPages:
    return unreadable_pages(
        num_pages=NUM_PAGES,
        num_heads=num_heads,
        head_size=head_size,
        page_size=PAGE,
        dtype=dtype,
    )


def zero_pages(dtype: str, head_size: int) -> KVPages:
    pages = new_pages(dtype, head_size)
    for array in arrays_of(pages).values():
        array[...] = 0
    return pages


def assert_same_bits(got: KVPages, want: KVPages) -> None:
    for name, array in arrays_of(want).items():
        np.testing.assert_array_equal(
            getattr(got, name).view(np.uint8), array.view(np.uint8), err_msg=name
        )
