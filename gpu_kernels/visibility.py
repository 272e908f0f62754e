"""Which keys each row of a step may attend to, on the device."""

from dataclasses import dataclass

import torch

from slipstream.cpu_kernels import Visibility as HostVisibility
from slipstream.gpu_kernels.tensors import to_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """As `slipstream.cpu_kernels.Visibility`, whose docstring gives shapes and dtypes."""

    sequences: torch.Tensor
    page_tables: torch.Tensor
    past: torch.Tensor
    first_key: torch.Tensor
    mask: torch.Tensor
    num_new: torch.Tensor

    @classmethod
    def from_host(cls, host: HostVisibility) -> "Visibility":
        """A copy on the device."""
        return cls(
            sequences=to_device(host.sequences),
            page_tables=to_device(host.page_tables),
            past=to_device(host.past),
            first_key=to_device(host.first_key),
            mask=to_device(host.mask),
            num_new=to_device(host.num_new),
        )
