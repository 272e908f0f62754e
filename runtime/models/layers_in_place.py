"""Layers that are computed where they lie."""

from typing import Any

from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models.layer_devices import Devices


class LayersInPlace:
    """Gives a step the layers as they were loaded; `LayerStream` gives it copies instead."""

    def __init__(self, cache: KVCache, devices: Devices) -> None:
        """devices : those that the model was loaded to, and the cache's pages are on"""
        self._cache = cache
        self.devices = devices

    def at_layer(self, layer_id: int | None) -> None:
        """The step's next ops are those of this layer, or of the head for None."""

    def weight(self, weight: Any) -> Any:
        """A weight of the layer under way."""
        return weight

    def vector(self, vector: Any) -> Any:
        """A norm or a bias of the layer under way; None stays None."""
        return vector

    def pages(self, layer_id: int) -> Any:
        """The pages of the layer under way."""
        return self._cache.layer(layer_id)
