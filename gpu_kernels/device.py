"""The device that Triton's kernels run on: a CUDA GPU, or the CPU through Triton's interpreter."""

from functools import cache

import torch
import triton

OLDEST_CAPABILITY = (7, 5)  # Turing
_INT8_CAPABILITY = (8, 0)  # Ampere: the first whose matrix units Triton uses for int8


class NoDeviceError(ImportError):
    """There is nothing here that these kernels could run on; says what is missing."""


@cache
def compute_device() -> torch.device:
    """The device of all tensors that ops are given.

    Raises NoDeviceError when torch has no CUDA, no driver answers or the GPU is too old.
    """
    if triton.knobs.runtime.interpret:
        return torch.device("cpu")
    if torch.version.cuda is None:
        raise NoDeviceError(
            f"torch {torch.__version__} was built without CUDA; install a build with CUDA to use "
            f"the GPU"
        )
    if not torch.cuda.is_available():
        raise NoDeviceError("no CUDA GPU answers; check that an NVIDIA driver is installed")
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST_CAPABILITY:
        raise NoDeviceError(
            f"{torch.cuda.get_device_name()} has compute capability {_version(capability)}; these "
            f"kernels need {_version(OLDEST_CAPABILITY)} or later"
        )
    return torch.device("cuda", torch.cuda.current_device())


@cache
def multiplies_int8() -> bool:
    """Whether Triton multiplies int8 here.

    For Turing it multiplies floats alone, and without matrix units; in its interpreter it does.
    """
    device = compute_device()
    if device.type == "cpu":
        return True
    major, minor = torch.cuda.get_device_capability(device)
    return (major, minor) >= _INT8_CAPABILITY


def _version(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
