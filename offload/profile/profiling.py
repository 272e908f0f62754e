"""Finds a machine's profile where it is kept, or measures what is missing and keeps it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from slipstream.offload.machine import Machine
from slipstream.offload.profile.gpu_access import GpuMismatchError, NoGpuError, open_gpu
from slipstream.offload.profile.hardware_key import hardware_key
from slipstream.offload.profile.machine_profile import MachineProfile
from slipstream.offload.profile.measured_costs import MeasuredDeviceCosts, MeasuredLinkCosts
from slipstream.offload.profile.measuring import measure_device, measure_link, measure_products
from slipstream.offload.profile.profile_file import default_file, load_profiles, save_profiles
from slipstream.offload.profile.workloads import DeviceWorkloads

log = logging.getLogger(__name__)

# Of most models; others are measured for a model that has them.
USUAL_QUANT_TYPES = ("Q4_K", "Q6_K", "Q8_0", "Q4_0", "F16")

Progress = Callable[[str, int, int], None]  # told (stage, done, total)


def stored_profile(
    threads: int, *, machine: Machine, file: Path | None = None
) -> MachineProfile | None:
    """The profile that is kept for this hardware and so many threads; None where there is none."""
    return load_profiles(file or default_file()).get(hardware_key(machine, threads))


def measured_profile(
    threads: int,
    *,
    machine: Machine,
    quant_types: Sequence[str] = USUAL_QUANT_TYPES,
    file: Path | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> MachineProfile:
    """The profile of this machine, with products of these quantisations.

    What is kept in `file`, by default `default_file()`, is not measured again unless `again` says
    so: the old figures may come from a moment at which other programs computed too. Then launch
    shapes for the GPU's kernels are chosen first, which takes minutes; the rest some 15 s on the
    CPU. This process should compute nothing else meanwhile. A damaged file or one that can't be
    written costs a measurement each time and is never an error.
    """
    file, key = file or default_file(), hardware_key(machine, threads)
    profiles = load_profiles(file)
    profile = None if again else profiles.get(key)
    if profile is None:
        profile = _measure(threads, machine, quant_types, progress, tunes=again)
    elif missing := profile.missing(tuple(quant_types)):
        profile = _extend(profile, machine, missing, progress)
    else:
        return profile
    # Read again: another process may have written meanwhile.
    save_profiles(file, {**load_profiles(file), key: profile})
    return profile


def open_cpu(threads: int, machine: Machine) -> DeviceWorkloads:
    """The CPU, computing with so many threads from now on."""
    # Imported where kernels are wanted: their cache folder may be one that can't be had.
    from slipstream.offload.profile.cpu_workloads import CpuWorkloads, cpu_sizes

    return CpuWorkloads(threads, cpu_sizes(machine))


def _measure(
    threads: int,
    machine: Machine,
    quant_types: Sequence[str],
    progress: Progress | None,
    *,
    tunes: bool,
) -> MachineProfile:
    cpu = measure_device(
        open_cpu(threads, machine), quant_types, _staged(progress, "measuring the CPU")
    )
    gpu, link, problem = None, None, None
    try:
        gpu, link = _measure_gpu(machine, quant_types, progress, tunes=tunes)
    except NoGpuError as error:
        problem = str(error)
    return MachineProfile(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        threads=threads,
        cpu=cpu,
        gpu=gpu,
        link=link,
        gpu_problem=problem,
    )


def _measure_gpu(
    machine: Machine, quant_types: Sequence[str], progress: Progress | None, *, tunes: bool
) -> tuple[MeasuredDeviceCosts, MeasuredLinkCosts]:
    """Raises NoGpuError when there is none, or when what is timed on it fails."""
    access = open_gpu(machine)
    with access.failing_as_no_gpu():
        access.check(quant_types)
        if tunes:  # not at a first loading: its kernels take a minute a type to compile
            access.tune(quant_types, _staged(progress, "choosing launch shapes for the GPU"))
        return (
            measure_device(access.device, quant_types, _staged(progress, "measuring the GPU")),
            measure_link(access.link, _staged(progress, "measuring the link")),
        )


def _extend(
    profile: MachineProfile,
    machine: Machine,
    quant_types: Sequence[str],
    progress: Progress | None,
) -> MachineProfile:
    """With the products of these quantisations too; the GPU's only where it answers now."""
    cpu_products = measure_products(
        open_cpu(profile.threads, machine), quant_types, _staged(progress, "measuring the CPU")
    )
    profile = replace(profile, cpu=profile.cpu.with_products(cpu_products))
    if profile.gpu is None:
        return profile
    try:
        access = open_gpu(machine)
        with access.failing_as_no_gpu():
            access.check(quant_types)
            gpu_products = measure_products(
                access.device, quant_types, _staged(progress, "measuring the GPU")
            )
    except GpuMismatchError as error:
        log.warning("the GPU is not used any more: %s", error)
        return replace(profile, gpu=None, link=None, gpu_problem=str(error))
    except NoGpuError as error:
        log.warning("the GPU's %s are not measured: %s", ", ".join(quant_types), error)
        return profile
    return replace(profile, gpu=profile.gpu.with_products(gpu_products))


def _staged(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, stage)
