"""The weights of a root-mean-square norm, on the device."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class RmsNorm:
    """As `slipstream.cpu_kernels.RmsNorm`.

    weight : (C,) float32
    """

    weight: torch.Tensor
    eps: float
