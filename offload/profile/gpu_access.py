"""The GPU to be measured, or why there is none."""

import importlib.util
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from slipstream.offload.machine import Machine
from slipstream.offload.profile.workloads import DeviceWorkloads, LinkWorkloads

GPU_PACKAGES = ("torch", "triton")


class NoGpuError(Exception):
    """No GPU is used, or can be; the message says why, as a clause."""


class GpuMismatchError(NoGpuError):
    """The kernels compute something else on the GPU than on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAccess:
    """A GPU that answers.

    check : raises GpuMismatchError unless products of these quantisations, and other ops, give
            what they give on the CPU
    tune : measures launch shapes of products of these quantisations, and keeps the fastest; told
           (done, total) as it goes on
    """

    device: DeviceWorkloads
    link: LinkWorkloads
    check: Callable[[Sequence[str]], None]
    tune: Callable[[Sequence[str], Callable[[int, int], None] | None], None]
    errors: tuple[type[Exception], ...]  # that work on it may end with, as without free memory

    @contextmanager
    def failing_as_no_gpu(self) -> Iterator[None]:
        """Within, work that ends with one of the errors raises NoGpuError."""
        try:
            yield
        except self.errors as error:
            raise NoGpuError(f"the GPU could not be measured: {error}") from error


def open_gpu(machine: Machine) -> GpuAccess:
    """The GPU that kernels run on. Raises NoGpuError when there is none."""
    if (problem := gpu_problem(machine)) is not None:
        raise NoGpuError(problem)
    from triton.errors import TritonError

    from slipstream.offload.profile.gpu_check import check
    from slipstream.offload.profile.gpu_workloads import GpuWorkloads, LinkCopies, gpu_sizes

    # Triton's first launch compiles C against the driver; an assertion says that there is none.
    errors = (RuntimeError, TritonError, OSError, subprocess.SubprocessError, AssertionError)
    try:
        device = GpuWorkloads(gpu_sizes())
        return GpuAccess(
            device=device, link=LinkCopies(), check=check, tune=device.tune, errors=errors
        )
    except errors as error:  # as when its memory is full
        raise NoGpuError(f"the GPU does not answer: {error}") from error


def gpu_problem(machine: Machine) -> str | None:
    """Why no kernel can run on a GPU of this machine, as a clause; None where one can.

    Imports torch, which takes seconds, where there is a GPU that it could use.
    """
    if not machine.gpus:
        return "no GPU was found"
    if all(gpu.vram_total_bytes is None for gpu in machine.gpus):
        names = ", ".join(f"{gpu.name}: {gpu.note or 'unknown'}" for gpu in machine.gpus)
        return f"no NVIDIA driver describes a GPU ({names})"
    missing = [name for name in GPU_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} can't be found; install slipstream[gpu]"
    try:
        from slipstream.gpu_kernels import compute_device
    except (ImportError, OSError) as error:  # no usable GPU; a library that can't be loaded
        return str(error)
    if compute_device().type != "cuda":
        return "TRITON_INTERPRET is set, so that the GPU's kernels run on the CPU"
    return None
