"""The machine that a model runs on: everything a plan needs to know about it."""

from dataclasses import dataclass
from pathlib import Path

from slipstream.offload.control_group import cpu_quota
from slipstream.offload.cpu_probe import (
    cpu_name,
    instruction_sets,
    last_level_cache_bytes,
    read_cores,
)
from slipstream.offload.gpu_probe import Gpu, find_gpus
from slipstream.offload.memory import read_ram


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as one process sees it; None is "not known", and never "none".

    `usable_...` counts leave out what the affinity mask of this process excludes. `cpu_quota` is
    the CPU time that its control group grants, in cores. RAM is the control group's where that has
    less than the machine. `read_gb_per_s` is None until someone has measured it
    (`bandwidth.measured_read_bandwidth`), because that takes a third of a second.
    """

    cpu_name: str
    physical_cores: int
    logical_cores: int
    performance_cores: int | None  # physical
    efficiency_cores: int | None  # physical
    usable_logical_cores: int
    usable_physical_cores: int
    usable_performance_cores: int | None
    cpu_quota: float | None
    instruction_sets: tuple[str, ...]
    last_level_cache_bytes: int | None
    ram_total_bytes: int
    ram_available_bytes: int
    gpus: tuple[Gpu, ...] = ()
    read_gb_per_s: float | None = None


def probe(root: Path = Path("/")) -> Machine:
    """What the system tells about this machine, in some milliseconds, without measuring.

    `root` is where /proc and /sys lie; what is missing there is asked of the running system where
    it can tell, else it is unknown. Never raises because something is missing.
    """
    cores = read_cores(root)
    ram = read_ram(root)
    return Machine(
        cpu_name=cpu_name(root),
        physical_cores=cores.physical,
        logical_cores=cores.logical,
        performance_cores=cores.performance,
        efficiency_cores=cores.efficiency,
        usable_logical_cores=cores.usable_logical,
        usable_physical_cores=cores.usable_physical,
        usable_performance_cores=cores.usable_performance,
        cpu_quota=cpu_quota(root),
        instruction_sets=instruction_sets(),
        last_level_cache_bytes=last_level_cache_bytes(root),
        ram_total_bytes=ram.total_bytes,
        ram_available_bytes=ram.available_bytes,
        gpus=find_gpus(root),
    )


def default_threads(machine: Machine) -> int:
    """How many threads compute when the user asks for no number."""
    return explain_default_threads(machine)[0]


def explain_default_threads(machine: Machine) -> tuple[int, str]:
    """The default number of threads, and why it is that.

    One for each physical core: two on one core share its arithmetic units and caches. Efficiency
    cores are left out, because every step ends when its slowest thread does.
    """
    if machine.usable_performance_cores and machine.efficiency_cores:
        threads, kind, total = (
            machine.usable_performance_cores,
            "performance core",
            machine.performance_cores,
        )
    else:
        threads, kind, total = (
            machine.usable_physical_cores,
            "physical core",
            machine.physical_cores,
        )
    why = f"one for each {kind}"
    if threads != total:
        why += f" that this process may use ({threads} of {total})"
    if machine.cpu_quota is not None and machine.cpu_quota < threads:
        # Rounded down: a thread that has used up its quota keeps all others waiting.
        threads = max(1, int(machine.cpu_quota))
        why = f"the control group of this process grants {machine.cpu_quota:g} cores of CPU time"
    return threads, why
