"""What a profile was measured on, as a text: where it differs, the figures hold no more."""

import importlib.metadata
import importlib.util
import zlib
from functools import cache
from pathlib import Path

from slipstream.offload.gpu_probe import Gpu
from slipstream.offload.machine import Machine
from slipstream.offload.profile.gpu_access import GPU_PACKAGES


def hardware_key(machine: Machine, threads: int) -> str:
    """CPU, threads that compute, GPUs with their driver and packages, and the kernels' version."""
    from slipstream.cpu_kernels.compiled import chosen_instruction_set  # where kernels can be had

    parts = [
        machine.cpu_name,
        f"{machine.logical_cores} logical cores",
        f"{threads} threads",
        *(_gpu_key(gpu) for gpu in machine.gpus),
        *(f"{name} {_version_of(name)}" for name in GPU_PACKAGES if machine.gpus),
        f"kernels {kernels_version()} for {chosen_instruction_set()}",
    ]
    return ", ".join(parts)


@cache
def kernels_version() -> str:
    """A checksum of the kernels' source text: any edit or upgrade changes it."""
    checksum = 0
    for package in ("slipstream.cpu_kernels", "slipstream.gpu_kernels"):
        spec = importlib.util.find_spec(package)  # does not import it: GPU kernels need torch
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{package} has no source files")
        for source in sorted(Path(spec.origin).parent.rglob("*.py")):
            checksum = zlib.crc32(source.read_bytes(), checksum)
    return f"{checksum:08x}"


def _gpu_key(gpu: Gpu) -> str:
    return f"{gpu.name} with {gpu.vram_total_bytes} bytes and driver {gpu.driver_version}"


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
