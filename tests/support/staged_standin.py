"""A stand-in for `gpu_kernels.StagedLayer` over arrays of the strict device."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from slipstream.cpu_kernels import KVPages


class StandinStagedLayer:
    """Has nothing of a layer but what was fetched and arrived; what else its pages hold is noise.

    device_pages : the class of the device's pages
    """

    device_pages: Any = None

    def __init__(self, weights_bytes: int, like: KVPages) -> None:
        self._room = weights_bytes
        self._here: set[int] = set()
        self._coming: list[Any] | None = None
        self._left = True
        self.num_waits = 0
        self.pages = self.device_pages.empty(
            num_pages=len(like.values),
            num_heads=like.num_heads,
            head_size=like.head_size,
            page_size=like.page_size,
            dtype=like.dtype,
        )

    def clear(self) -> None:
        self._left = True

    def fetch(self, weights: Sequence[Any], pages: KVPages, page_ids: np.ndarray) -> int:
        assert self._left, "the layer before is still here"
        assert panels_bytes(weights) <= self._room
        self._coming = list(weights)
        for each in fields(pages):
            array = getattr(self.pages, each.name)
            if array is not None:
                array.view(np.uint8)[...] = 0x3B
        moved = _copy(pages, self.pages, page_ids)
        return moved + sum(weight.num_bytes for weight in weights)

    def arrive(self) -> None:
        assert self._coming is not None, "nothing was fetched"
        self._here = {id(weight) for weight in self._coming}
        self._coming, self._left = None, False

    def weight(self, weight: Any) -> Any:
        assert id(weight) in self._here, "a weight of another layer"
        return weight

    def leave(self, pages: KVPages, page_ids: np.ndarray) -> int:
        self._here, self._left = set(), True
        return _copy(self.pages, pages, page_ids)

    def synchronize(self) -> None:
        self.num_waits += 1


class StandinPageLock:
    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self.arrays = list(arrays)


def panels_bytes(weights: Sequence[Any]) -> int:
    return sum(weight.num_bytes for weight in weights)


def staged_arrays(weights: Sequence[Any], pages: KVPages) -> Iterator[np.ndarray]:
    for weight in weights:
        yield from (part.panels for part in weight.parts)
    arrays = (getattr(pages, each.name) for each in fields(pages))
    yield from (array for array in arrays if array is not None)


def _copy(source: KVPages, target: KVPages, page_ids: np.ndarray) -> int:
    moved = 0
    for each in fields(source):
        array = getattr(source, each.name)
        if array is not None:
            getattr(target, each.name)[page_ids] = array[page_ids]
            moved += array[page_ids].nbytes
    return moved
