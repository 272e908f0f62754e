"""How much RAM the machine has, how much a model may take, and how much is left alone."""

import re
from dataclasses import dataclass
from pathlib import Path

from slipstream.offload.control_group import memory_limit
from slipstream.offload.linux_files import read_fields, read_text

SMALLEST_MARGIN_BYTES = 256 * 1024**2
MARGIN_SHARE = 0.05
ADDRESS_SPACE_LINE = re.compile(r"^Max address space +(\d+) ", re.MULTILINE)  # "unlimited" else


@dataclass(frozen=True, slots=True, kw_only=True)
class Ram:
    """RAM that this process could ever have, and that it could have now without swapping."""

    total_bytes: int
    available_bytes: int


def read_ram(root: Path = Path("/")) -> Ram:
    """RAM of the machine, or of the control group or `ulimit -v` where that allows less."""
    fields = read_fields(root / "proc/meminfo")
    total = _kilobytes(fields.get("MemTotal"))
    available = _kilobytes(fields.get("MemAvailable"))
    if total is None or available is None:
        import psutil  # late: Linux does without

        memory = psutil.virtual_memory()
        total, available = int(memory.total), int(memory.available)
    limit = memory_limit(root)
    if limit is not None:
        total = min(total, limit.limit_bytes)
        available = min(available, limit.available_bytes)
    # Everything that a process maps counts, so this is less than what it could touch.
    address_space = ADDRESS_SPACE_LINE.search(read_text(root / "proc/self/limits") or "")
    if address_space is not None:
        used = _kilobytes(read_fields(root / "proc/self/status").get("VmSize")) or 0
        total = min(total, int(address_space[1]))
        available = min(available, max(0, int(address_space[1]) - used))
    return Ram(total_bytes=total, available_bytes=min(available, total))


def peak_resident_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not tell.

    Not `getrusage`: its figure begins with that of the process that started this one.
    """
    return _kilobytes(read_fields(Path("/proc/self/status")).get("VmHWM")) or 0


def ram_margin_bytes(ram_total_bytes: int) -> int:
    """Bytes of available RAM that a plan leaves to the system and to other programs."""
    return max(SMALLEST_MARGIN_BYTES, int(ram_total_bytes * MARGIN_SHARE))


def _kilobytes(text: str | None) -> int | None:
    """Bytes of a /proc/meminfo value such as "24684084 kB"."""
    number, _, unit = (text or "").partition(" ")
    return int(number) * 1024 if number.isdecimal() and unit == "kB" else None
