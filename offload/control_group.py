"""The CPU and memory limits that Linux control groups (containers, services) put on this process.

Source: the kernel's admin guide, cgroup-v2 (`cpu.max`, `memory.max`) and cgroup-v1
(`cpu.cfs_quota_us`, `memory.limit_in_bytes`). A limit holds for a group and everything below it,
so each is the smallest found from the process's own group up to the root of the hierarchy.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from slipstream.offload.linux_files import read_fields, read_int, read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """What the tightest groups allow: the limit itself and what is still free below it."""

    limit_bytes: int
    available_bytes: int


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPU time this process may use, in cores (2.5 = two and a half), or None when not limited."""
    quotas = [_cpu_quota_of(folder) for folder in _group_folders(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The memory this process may use, or None when no group limits it."""
    limits = [_memory_limit_of(folder) for folder in _group_folders(root, "memory")]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    return MemoryLimit(
        limit_bytes=min(limit.limit_bytes for limit in known),
        available_bytes=min(limit.available_bytes for limit in known),
    )


def _cpu_quota_of(folder: Path) -> float | None:
    text = read_text(folder / "cpu.max")
    if text is not None:  # version 2: "<quota or max> <period>"
        quota_text, _, period_text = text.partition(" ")
        if not (quota_text.isdecimal() and period_text.isdecimal()):
            return None
        quota, period = int(quota_text), int(period_text)
    else:
        quota = read_int(folder / "cpu.cfs_quota_us") or 0
        period = read_int(folder / "cpu.cfs_period_us") or 0
    return quota / period if quota > 0 and period > 0 else None


def _memory_limit_of(folder: Path) -> MemoryLimit | None:
    # Above memory.high the kernel slows a process to a crawl: for us that is the limit too.
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limits = [limit for name in names if (limit := read_int(folder / name)) is not None]
    used = read_int(folder / "memory.current")
    stat = read_fields(folder / "memory.stat")
    prefix = ""
    if used is None:
        used = read_int(folder / "memory.usage_in_bytes") or 0
        prefix = "total_"
    if not limits:
        return None
    # Cached file pages count as used and are given back when memory is short; a model file
    # that was read before is such a page cache.
    reclaimable = sum(
        int(text)
        for kind in ("inactive_file", "active_file")
        if (text := stat.get(prefix + kind, "")).isdecimal()
    )
    limit = min(limits)
    return MemoryLimit(
        limit_bytes=limit, available_bytes=max(0, min(limit, limit - used + reclaimable))
    )


def _group_folders(root: Path, controller: str) -> list[Path]:
    """The folders that may limit `controller` for this process, in either version's hierarchy."""
    groups = _groups(root)
    folders: list[Path] = []
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        before, separator, after = line.partition(" - ")
        mount, kind = before.split(), after.split()
        if not separator or len(mount) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            group = groups.get("")
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            group = groups.get(controller)
        else:
            continue
        if group is not None:
            folders += _up_to_mount(root / mount[4].lstrip("/"), mount[3], group)
    return folders


def _groups(root: Path) -> dict[str, str]:
    """This process's group for each version 1 controller, and under "" the version 2 group."""
    groups: dict[str, str] = {}
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            groups |= dict.fromkeys(parts[1].split(","), parts[2])
    return groups


def _up_to_mount(mount_point: Path, mounted_group: str, group: str) -> list[Path]:
    """The group's folder and its parents up to `mount_point`, where `mounted_group` is mounted."""
    path = PurePosixPath(group)
    if not path.is_relative_to(mounted_group) or ".." in path.parts:
        return [mount_point]  # a container that sees only its own part of the hierarchy
    below = path.relative_to(mounted_group)
    return [mount_point / part for part in (below, *below.parents)]
