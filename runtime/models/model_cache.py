"""The KV cache of a model: each layer's pages lie on the device that computes the layer."""

from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models.config import ModelConfig
from slipstream.runtime.models.layer_devices import Devices


def empty_cache(config: ModelConfig, devices: Devices, num_tokens: int, dtype: str) -> KVCache:
    """Room for `num_tokens` of all sequences together, as `dtype` (see `KVPages`)."""
    return KVCache(
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_size=config.head_size,
        num_tokens=num_tokens,
        dtype=dtype,
        page_types=[devices.of_layer(each).ops.KVPages for each in range(config.num_layers)],
    )
