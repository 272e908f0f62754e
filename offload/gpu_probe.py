"""Which GPUs a machine has, asked of the driver without loading a GPU framework.

NVIDIA GPUs are described by NVML, the C library that comes with every NVIDIA driver (calls and
structures: NVIDIA's NVML API reference). Others are recognised by their PCI vendor only.
"""

import ctypes
import logging
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipstream.offload.linux_files import read_text

log = logging.getLogger(__name__)

PCI_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
VERSION_BYTES = 80  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; what the driver does not tell is None."""

    vendor: str
    name: str
    vram_total_bytes: int | None = None
    vram_free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver_version: str | None = None
    note: str | None = None


class _NvmlMemory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def find_gpus(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Every GPU found, those that NVML describes first; empty when there is none."""
    nvml = load_nvml()
    described = () if nvml is None else _nvml_gpus(nvml)
    vendors = _vendors(root)
    if described:
        vendors = [vendor for vendor in vendors if vendor != "NVIDIA"]
    return described + tuple(_undescribed(vendor) for vendor in vendors)


def load_nvml() -> Any | None:
    """The driver's NVML library, or None when no NVIDIA driver is installed."""
    name = "nvml.dll" if platform.system() == "Windows" else "libnvidia-ml.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _nvml_gpus(nvml: Any) -> tuple[Gpu, ...]:
    if status := nvml.nvmlInit_v2():
        log.info("the NVIDIA driver does not answer: nvmlInit_v2 returned %d", status)
        return ()
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return ()
        version = ctypes.create_string_buffer(VERSION_BYTES)
        has_version = not nvml.nvmlSystemGetDriverVersion(version, VERSION_BYTES)
        driver = _text(version) if has_version else None
        gpus = [_nvml_gpu(nvml, gpu_id, driver) for gpu_id in range(count.value)]
        return tuple(gpu for gpu in gpus if gpu is not None)
    finally:
        nvml.nvmlShutdown()


def _nvml_gpu(nvml: Any, gpu_id: int, driver_version: str | None) -> Gpu | None:
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(gpu_id, ctypes.byref(handle)):
        return None
    name = ctypes.create_string_buffer(NAME_BYTES)
    has_name = not nvml.nvmlDeviceGetName(handle, name, NAME_BYTES)
    memory = _NvmlMemory()
    has_memory = not nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    major, minor = ctypes.c_int(), ctypes.c_int()
    has_capability = not nvml.nvmlDeviceGetCudaComputeCapability(
        handle, ctypes.byref(major), ctypes.byref(minor)
    )
    return Gpu(
        vendor="NVIDIA",
        name=_text(name) if has_name else "NVIDIA GPU",
        vram_total_bytes=int(memory.total) if has_memory else None,
        vram_free_bytes=int(memory.free) if has_memory else None,
        compute_capability=(major.value, minor.value) if has_capability else None,
        driver_version=driver_version,
    )


def _text(buffer: ctypes.Array[ctypes.c_char]) -> str:
    return buffer.value.decode("utf-8", errors="replace")


def _vendors(root: Path) -> list[str]:
    """Vendors of the graphics cards that the kernel lists, in its order; others are left out."""
    folder = root / "sys/class/drm"
    try:
        cards = sorted(path for path in folder.iterdir() if re.fullmatch(r"card\d+", path.name))
    except OSError:
        return []
    codes = (read_text(card / "device/vendor") for card in cards)
    return [PCI_VENDORS[code] for code in codes if code in PCI_VENDORS]


def _undescribed(vendor: str) -> Gpu:
    note = "its driver does not answer" if vendor == "NVIDIA" else "not used by this version"
    return Gpu(vendor=vendor, name=f"{vendor} GPU", note=note)
