"""Model architectures: one file each, named as the model files name them."""

from slipstream.runtime.models.blocks import head_name
from slipstream.runtime.models.config import ModelConfig
from slipstream.runtime.models.forward_pass import Array, ForwardPass
from slipstream.runtime.models.layer_contents import LayerContents
from slipstream.runtime.models.layer_devices import Devices, LayerDevices
from slipstream.runtime.models.layer_stream import LayerStream
from slipstream.runtime.models.model_cache import empty_cache
from slipstream.runtime.models.registry import ARCHITECTURES, Model, load_model, read_model_config
from slipstream.runtime.models.step_runner import StepRunner
from slipstream.runtime.models.weights import layer_of

__all__ = [
    "ARCHITECTURES",
    "Array",
    "Devices",
    "ForwardPass",
    "LayerContents",
    "LayerDevices",
    "LayerStream",
    "Model",
    "ModelConfig",
    "StepRunner",
    "empty_cache",
    "head_name",
    "layer_of",
    "load_model",
    "read_model_config",
]
