"""What a loaded layer consists of."""

from dataclasses import dataclass, field
from typing import Any

from slipstream.cpu_kernels import RmsNorm


@dataclass(frozen=True, slots=True)
class LayerContents:
    """The objects that a model computes a layer with, in the memory of the layer's device.

    weights : as ops take them
    vectors : norms, and biases as arrays
    """

    weights: list[Any] = field(default_factory=list)
    vectors: list[RmsNorm | Any] = field(default_factory=list)
