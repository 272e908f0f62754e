"""Collects what `slipstream doctor` reports."""

import importlib.metadata
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slipstream import __version__
from slipstream.offload.bandwidth import measured_read_bandwidth
from slipstream.offload.machine import default_threads, explain_default_threads, probe
from slipstream.offload.profile.gpu_access import gpu_problem
from slipstream.offload.profile.machine_profile import MachineProfile
from slipstream.offload.profile.profile_file import default_file
from slipstream.offload.profile.profiling import Progress, measured_profile, stored_profile
from slipstream.runtime.backends import load_backend
from slipstream.runtime.catalogue import list_local, models_folder
from slipstream.runtime.errors import OptionError

# The packages that each optional extra of Slipstream installs.
EXTRAS = {"llamacpp": ("llama-cpp-python",), "gpu": ("torch", "triton"), "onnx": ("onnx",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProfile:
    """The machine's profile where there is one, and what stands in the way of measuring."""

    profile: MachineProfile | None
    problem: str | None  # why none can be measured
    gpu_problem: str | None  # why no GPU was measured, or can be


def find_profile(*, measure: bool, progress: Progress | None = None) -> FoundProfile:
    """The profile that is kept for this machine with its default threads, or one measured now.

    A measured one is kept from then on.
    """
    try:
        load_backend()
    except OptionError as error:
        return FoundProfile(profile=None, problem=str(error), gpu_problem=None)
    machine = probe()
    threads = default_threads(machine)
    profile: MachineProfile | None
    if measure:
        profile = measured_profile(threads, machine=machine, again=True, progress=progress)
    else:
        profile = stored_profile(threads, machine=machine)
    reason = gpu_problem(machine) if profile is None else profile.gpu_problem
    return FoundProfile(profile=profile, problem=None, gpu_problem=reason)


def diagnose(found: FoundProfile) -> dict[str, Any]:
    """The machine, its profile, the kernels, models, versions and extras, ready for JSON."""
    return {
        "machine": examine_machine(),
        "profile": {
            "file": str(default_file()),
            "problem": found.problem,
            "gpu_problem": found.gpu_problem,
            "figures": None if found.profile is None else asdict(found.profile),
        },
        "kernels": examine_kernels(),
        "models": examine_models(),
        "versions": {
            "slipstream": __version__,
            "python": platform.python_version(),
            "numba": version_of("numba"),
            "numpy": version_of("numpy"),
        },
        "system": platform.platform(terse=True),
        "extras": {
            name: {package: version_of(package) for package in packages}
            for name, packages in EXTRAS.items()
        },
    }


def examine_machine() -> dict[str, Any]:
    """The machine with its default threads and its read bandwidth, measured afresh."""
    machine = probe()
    threads, why = explain_default_threads(machine)
    return {
        **asdict(machine),
        "read_gb_per_s": measured_read_bandwidth(threads, machine=machine, again=True),
        "default_threads": threads,
        "default_threads_why": why,
    }


def examine_kernels() -> dict[str, Any]:
    """What the kernels are compiled for and where they are kept, or why that can't be."""
    try:
        load_backend()
    except OptionError as error:
        return {"instruction_set": None, "folder": None, "bytes": None, "problem": str(error)}
    # Importable only once it is known that the cache folder which was asked for can be written.
    from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set
    from slipstream.cpu_kernels.compiled.kernel_cache import kernel_cache_dir

    folder = kernel_cache_dir()
    return {
        "instruction_set": chosen_instruction_set(),
        "folder": None if folder is None else str(folder),
        "bytes": None if folder is None else size_of(folder),
        "problem": "they are compiled at every start" if folder is None else None,
    }


def examine_models() -> dict[str, Any]:
    """The models folder and what it holds."""
    folder = models_folder()
    models = list_local()
    return {
        "folder": str(folder),
        "num_models": len(models),
        "bytes": sum(model.size_bytes for model in models),
        "problem": write_problem(folder),
    }


def write_problem(folder: Path) -> str | None:
    """Why nothing can be written to a folder, or made where it will be; None when it can."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return error.strerror


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def version_of(package: str) -> str | None:
    """The installed version of a package, None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
