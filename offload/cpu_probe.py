"""What the processor is: its name, cores, kinds of core, instruction sets and last-level cache.

Linux tells it in /proc and /sys (Documentation/ABI/stable/sysfs-devices-system-cpu), macOS through
sysctl; elsewhere only the counts are known.
"""

import platform
import subprocess
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from slipstream.cpu_kernels.host_cpu import host_features
from slipstream.offload.linux_files import (
    parse_cpu_list,
    read_cpu_list,
    read_fields,
    read_int,
    read_text,
)

# LLVM's names of the instruction sets that matter for inference, and the names users know.
INSTRUCTION_SETS = {
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avxvnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "amx-int8": "amx_int8",
    "neon": "neon",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
    "sve": "sve",
}

# Slower than this share of the fastest core makes an efficiency core. The favoured cores of one
# kind differ by a tenth at most; Zen 5c (0.65), Intel E-cores and Arm's small cores lie below.
EFFICIENCY_SHARE = 0.7
SYSCTL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Counts of cores; `usable` ones are those that the affinity mask lets this process run on.

    A logical core is what the system schedules on; a physical core has one or several of them.
    Performance and efficiency cores are physical; None where the system does not tell them apart.
    """

    physical: int
    logical: int
    performance: int | None
    efficiency: int | None
    usable_logical: int
    usable_physical: int
    usable_performance: int | None


def read_cores(root: Path = Path("/")) -> Cores:
    """The cores of this machine and those that this process may use."""
    cores = _linux_cores(root)
    if not cores:
        return _uniform_cores()
    everything = frozenset().union(*cores)
    status = read_fields(root / "proc/self/status")
    allowed = parse_cpu_list(status.get("Cpus_allowed_list", "")) & everything or everything
    fast = _performance_cpus(root, everything)
    performance = None if fast is None else sum(bool(core & fast) for core in cores)
    return Cores(
        physical=len(cores),
        logical=len(everything),
        performance=performance,
        efficiency=None if performance is None else len(cores) - performance,
        usable_logical=len(allowed),
        usable_physical=sum(bool(core & allowed) for core in cores),
        usable_performance=None
        if fast is None
        else sum(bool(core & fast & allowed) for core in cores),
    )


def cpu_name(root: Path = Path("/")) -> str:
    """The processor's name as its maker gives it, else the board's, else its architecture's."""
    return (
        read_fields(root / "proc/cpuinfo").get("model name")
        or (read_text(root / "sys/firmware/devicetree/base/model") or "").strip("\0")
        or _sysctl("machdep.cpu.brand_string")
        or platform.processor()
        or platform.machine()
    )


def instruction_sets(features: Set[str] | None = None) -> tuple[str, ...]:
    """The sets that kernels here can use; `features` has LLVM's names, by default this CPU's."""
    known = host_features() if features is None else features
    return tuple(name for llvm_name, name in INSTRUCTION_SETS.items() if llvm_name in known)


def last_level_cache_bytes(root: Path = Path("/")) -> int | None:
    """Bytes of the largest-numbered cache level, all its instances together, or None."""
    sizes: dict[tuple[int, str], int] = {}
    for folder in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*"):
        level = read_int(folder / "level")
        kilobytes = (read_text(folder / "size") or "").removesuffix("K")
        sharers = read_text(folder / "shared_cpu_list")
        if level is not None and sharers is not None and kilobytes.isdecimal():
            sizes[level, sharers] = int(kilobytes) * 1024
    last = max((level for level, _ in sizes), default=None)
    return sum(size for (level, _), size in sizes.items() if level == last) or None


def _linux_cores(root: Path) -> frozenset[frozenset[int]]:
    """The logical CPU numbers of each physical core; empty when /sys does not list them."""
    folder = root / "sys/devices/system/cpu"
    return frozenset(
        read_cpu_list(folder / f"cpu{cpu}/topology/thread_siblings_list") or frozenset({cpu})
        for cpu in read_cpu_list(folder / "online")
    )


def _performance_cpus(root: Path, cpus: frozenset[int]) -> frozenset[int] | None:
    """The CPUs that are performance cores, or None when nothing tells how fast each one is."""
    intel = read_cpu_list(root / "sys/devices/cpu_core/cpus")  # only where there are two kinds
    if intel:
        return intel
    folder = root / "sys/devices/system/cpu"
    uniform = False
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        known = {cpu: read_int(folder / f"cpu{cpu}" / name) for cpu in cpus}
        speeds = {cpu: speed for cpu, speed in known.items() if speed is not None}
        if len(speeds) < len(cpus):
            continue
        fastest = max(speeds.values())
        fast = frozenset(cpu for cpu in cpus if speeds[cpu] >= EFFICIENCY_SHARE * fastest)
        if fast != cpus:
            return fast
        uniform = True
    return cpus if uniform else None


def _uniform_cores() -> Cores:
    """The counts where /sys is missing: macOS, and systems on which psutil counts the cores."""
    import psutil  # late: Linux does without

    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    performance = _sysctl_int("hw.perflevel0.physicalcpu")
    efficiency = _sysctl_int("hw.perflevel1.physicalcpu")
    return Cores(
        physical=physical,
        logical=logical,
        performance=performance,
        efficiency=efficiency,
        usable_logical=logical,
        usable_physical=physical,
        usable_performance=performance,
    )


def _sysctl(name: str) -> str | None:
    """A value of macOS's sysctl; None on other systems and for a name that it does not have."""
    if platform.system() != "Darwin":
        return None
    try:
        result = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name],
            capture_output=True,
            text=True,
            timeout=SYSCTL_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None


def _sysctl_int(name: str) -> int | None:
    text = _sysctl(name)
    return int(text) if text is not None and text.isdecimal() else None
