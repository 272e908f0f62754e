"""The architectures that are implemented, and loading a model of one of them."""

from collections.abc import Callable
from typing import Protocol

from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import UnsupportedError
from slipstream.runtime.models.config import ModelConfig
from slipstream.runtime.models.forward_pass import Array, ForwardPass
from slipstream.runtime.models.gemma3 import Gemma3
from slipstream.runtime.models.layer_contents import LayerContents
from slipstream.runtime.models.layer_devices import Devices
from slipstream.runtime.models.llama import Llama
from slipstream.runtime.models.qwen2 import Qwen2
from slipstream.runtime.models.qwen3 import Qwen3
from slipstream.runtime.models.weights import WeightLoader


class Model(Protocol):
    """A model whose weights are on their devices."""

    config: ModelConfig

    def forward(self, step: ForwardPass) -> Array:
        """Logits (W, V) float32 of the wanted rows, valid until the next forward."""
        ...


ARCHITECTURES: dict[str, type[Llama] | type[Gemma3]] = {
    "gemma3": Gemma3,
    "llama": Llama,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
}


def read_model_config(file: ModelFile) -> ModelConfig:
    """The config of a model file. Raises UnsupportedError for an architecture not in the table."""
    architecture = ARCHITECTURES.get(file.architecture)
    if architecture is None:
        raise UnsupportedError(
            f"{file.path}: the architecture {file.architecture!r} is not implemented; "
            f"these are: {', '.join(ARCHITECTURES)}"
        )
    return architecture.read_config(file)


def load_model(
    file: ModelFile,
    config: ModelConfig,
    devices: Devices,
    progress: Callable[[int, int], None] | None = None,
    *,
    head_rows: int | None = None,
    contents: dict[int | None, LayerContents] | None = None,
) -> Model:
    """Bring the weights of a file to the devices of its layers.

    progress  : told (tensors taken, tensors in the file)
    head_rows : give logits of so many tokens only, the first ones; None gives all
    contents  : takes what each layer consists of, and what belongs to none
    Raises CheckpointError for missing or misshapen tensors, UnsupportedError for ones left over.
    """
    weights = WeightLoader(file, devices, progress, head_rows)
    model = ARCHITECTURES[config.architecture](config, weights)
    weights.finish()
    if contents is not None:
        contents.update(weights.contents)
    return model
