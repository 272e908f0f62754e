"""Layers that lie in the host's memory and that a GPU computes in long steps, each from a copy."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.offload.simulator.streaming import NUM_STAGED_LAYERS
from slipstream.runtime.backends import Backend
from slipstream.runtime.kv_cache import KVCache, pages_for
from slipstream.runtime.kv_cache.row_placement import RowPlacement
from slipstream.runtime.models.layer_contents import LayerContents
from slipstream.runtime.models.layer_devices import Devices, LayerDevices


class LayerStream:
    """Brings layers to the GPU in the order in which a step computes them, and their pages back.

    devices    : those of such a step: the GPU has all layers, the head is where it always is
    link_bytes : copied by the step under way
    """

    def __init__(
        self,
        contents: Mapping[int | None, LayerContents],
        cache: KVCache,
        gpu: Backend,
        devices: Devices,
    ) -> None:
        """contents : see `load_model`; devices : that the model was loaded to"""
        ops, num_layers = gpu.ops, cache.num_layers
        in_host = [i for i in range(num_layers) if devices.of_layer(i).ops.IN_HOST_MEMORY]
        self._cache = cache
        self._contents = {layer_id: contents[layer_id] for layer_id in in_host}
        self._vectors = {
            id(each): _copied(each, gpu)
            for layer in self._contents.values()
            for each in layer.vectors
        }
        self._lock = ops.PageLock(
            array
            for layer_id, layer in self._contents.items()
            for array in ops.staged_arrays(layer.weights, cache.layer(layer_id))
        )
        most_bytes = max(ops.panels_bytes(layer.weights) for layer in self._contents.values())
        staged = [
            ops.StagedLayer(most_bytes, cache.layer(in_host[0]))
            for _ in range(min(NUM_STAGED_LAYERS, len(in_host)))
        ]
        self._order = in_host
        self._staged = {each: staged[i % NUM_STAGED_LAYERS] for i, each in enumerate(in_host)}
        self._here: int | None = None
        self._past_pages = self._new_pages = np.empty(0, np.int64)
        self.devices = LayerDevices(layers=(gpu,) * num_layers, head=devices.of_head)
        self.link_bytes = 0

    def begin(self, placement: RowPlacement) -> None:
        """A step with these places comes: its first layers begin to."""
        self._past_pages, self._new_pages = _pages_of(placement)
        self._here = None
        self.link_bytes = 0
        for layer_id in self._order[:NUM_STAGED_LAYERS]:
            self._staged[layer_id].clear()
            self._fetch(layer_id)

    def at_layer(self, layer_id: int | None) -> None:
        """All ops of the layer before were called; `layer_id` is next, None is the head."""
        if self._here is not None:
            self._leave(self._here)
        self._here = layer_id if layer_id in self._staged else None
        if self._here is not None:
            self._staged[self._here].arrive()

    def end(self) -> None:
        """After a step, also one that failed: wait until nothing is copied any more."""
        for staged in {id(each): each for each in self._staged.values()}.values():
            staged.synchronize()

    def weight(self, weight: Any) -> Any:
        """A weight of the layer under way, on its device."""
        return weight if self._here is None else self._staged[self._here].weight(weight)

    def vector(self, vector: Any) -> Any:
        """A norm or a bias of the layer under way, on its device."""
        return vector if self._here is None or vector is None else self._vectors[id(vector)]

    def pages(self, layer_id: int) -> Any:
        """The pages of the layer under way, on its device."""
        return self._cache.layer(layer_id) if self._here is None else self._staged[layer_id].pages

    def _fetch(self, layer_id: int) -> None:
        self.link_bytes += self._staged[layer_id].fetch(
            self._contents[layer_id].weights, self._cache.layer(layer_id), self._past_pages
        )

    def _leave(self, layer_id: int) -> None:
        """Its pages go to the host, and the layer that has its room next comes."""
        pages = self._cache.layer(layer_id)
        self.link_bytes += self._staged[layer_id].leave(pages, self._new_pages)
        following = self._order.index(layer_id) + NUM_STAGED_LAYERS
        if following < len(self._order):
            self._fetch(self._order[following])


def _copied(vector: RmsNorm | Any, gpu: Backend) -> RmsNorm | Any:
    if isinstance(vector, RmsNorm):
        return replace(vector, weight=gpu.ops.from_host(vector.weight))
    return gpu.ops.from_host(vector)


def _pages_of(placement: RowPlacement) -> tuple[np.ndarray, np.ndarray]:
    """Pages with tokens that sequences of the step had before, and those of new ones, ascending."""
    seen = placement.everything
    before = [
        table[: pages_for(past)] for table, past in zip(seen.page_tables, seen.past, strict=True)
    ]
    return np.unique(np.concatenate(before)), np.unique(placement.pages)
