"""Room on the device for one layer that lies in the host's memory."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from slipstream.cpu_kernels import KVPages as HostPages
from slipstream.gpu_kernels.device import compute_device
from slipstream.gpu_kernels.kv_pages import KVPages
from slipstream.gpu_kernels.panels import part_of_panels
from slipstream.gpu_kernels.streams import CopyStream, Event
from slipstream.gpu_kernels.weight import Weight

if TYPE_CHECKING:
    from slipstream.cpu_kernels.compiled.weight import Weight as HostWeight
    from slipstream.cpu_kernels.compiled.weight import WeightPart

_ALIGNMENT = 256  # bytes


class StagedLayer:
    """Takes the weights and pages of one layer after another, and gives pages back.

    pages : of the layer that is here, as many as the host's; those that were not brought hold
            anything

    Copies go on beside ops: with two of these, one layer comes while another is computed.
    """

    def __init__(self, weights_bytes: int, like: HostPages) -> None:
        """weights_bytes : see `panels_bytes`, of the largest layer; like : pages of any layer"""
        self._raw = torch.empty(weights_bytes, dtype=torch.uint8, device=compute_device())
        self._places: dict[int, tuple[int, int]] = {}  # of a part's panels, by its id
        self._arrived, self._left = Event(), Event()
        self.pages = KVPages.empty(
            num_pages=len(like.values),
            num_heads=like.num_heads,
            head_size=like.head_size,
            page_size=like.page_size,
            dtype=like.dtype,
        )

    def clear(self) -> None:
        """Have no copy begin before the ops that were called so far are done."""
        self._left.record()

    def fetch(self, weights: Sequence["HostWeight"], pages: HostPages, page_ids: np.ndarray) -> int:
        """Begin to bring a layer's weights, and these of its pages, once the one here has left.

        page_ids : ascending
        Returns bytes, as `leave` does.
        """
        num_bytes = 0
        self._places.clear()
        with _to_device().current():
            self._left.wait()
            first = 0
            try:
                for part in _parts_of(weights):
                    end = first + part.panels.nbytes
                    source = torch.from_numpy(part.panels).view(-1)
                    self._raw[first:end].copy_(source, non_blocking=True)
                    self._places[id(part)] = first, end
                    first = _aligned(end)
                    num_bytes += part.panels.nbytes
                for ours, theirs in _pairs(self.pages, pages):
                    num_bytes += _copy(theirs, ours, page_ids)
            finally:  # what has begun is waited for by `synchronize` also after an error
                self._arrived.record()
        return num_bytes

    def arrive(self) -> None:
        """Have the ops that are called from now on find what was fetched last."""
        self._arrived.wait()

    def weight(self, weight: "HostWeight") -> Weight:
        """A weight of the layer that is here, as ops take it."""
        return Weight(
            parts=tuple(
                part_of_panels(
                    self._raw[slice(*self._places[id(part)])].view(part.panels.shape),
                    part.quant_type,
                    part.rows,
                    weight.columns,
                )
                for part in weight.parts
            ),
            columns=weight.columns,
        )

    def leave(self, pages: HostPages, page_ids: np.ndarray) -> int:
        """After the layer's last op: begin to bring these pages to the host."""
        num_bytes, computed = 0, Event()
        computed.record()
        with _to_host().current():
            computed.wait()
            try:
                for ours, theirs in _pairs(self.pages, pages):
                    num_bytes += _copy(ours, theirs, page_ids)
            finally:
                self._left.record()
        return num_bytes

    def synchronize(self) -> None:
        """Wait until nothing comes or goes: the host has the pages that were given back."""
        self._arrived.synchronize()
        self._left.synchronize()


def panels_bytes(weights: Sequence["HostWeight"]) -> int:
    """Bytes of the device's memory that a layer's weights take as they come."""
    return sum(_aligned(part.panels.nbytes) for part in _parts_of(weights))


def staged_arrays(weights: Sequence["HostWeight"], pages: HostPages) -> Iterator[np.ndarray]:
    """The arrays of the host that copies of a layer read and write."""
    for part in _parts_of(weights):
        yield part.panels
    for each in fields(pages):
        array = getattr(pages, each.name)
        if array is not None:
            yield array


@cache
def _to_device() -> CopyStream:
    """Copies to the device, of all layers: one after another is as fast."""
    return CopyStream()


@cache
def _to_host() -> CopyStream:
    """Copies to the host, which a link carries at the same time."""
    return CopyStream()


def _parts_of(weights: Sequence["HostWeight"]) -> Iterator["WeightPart"]:
    for weight in weights:
        yield from weight.parts


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


def _pairs(ours: KVPages, theirs: HostPages) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The arrays of the device's pages and, as tensors of the same type, of the host's."""
    for each in fields(theirs):
        array, tensor = getattr(theirs, each.name), getattr(ours, each.name)
        if array is not None:
            if array.dtype == np.uint32:
                array = array.view(np.int32)
            yield tensor, torch.from_numpy(array)


def _copy(source: torch.Tensor, target: torch.Tensor, page_ids: np.ndarray) -> int:
    """Copy these pages, those together that follow one another; returns bytes."""
    if not len(page_ids):
        return 0
    for run in np.split(page_ids, np.flatnonzero(np.diff(page_ids) != 1) + 1):
        pages = slice(int(run[0]), int(run[-1]) + 1)
        target[pages].copy_(source[pages], non_blocking=True)
    return len(page_ids) * int(source[:1].nbytes)
