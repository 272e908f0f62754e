"""Reading the small text files in which the Linux kernel describes a machine.

Every function answers None (or an empty result) for a file that is missing, unreadable or not
what was expected: kernels, containers and other systems differ in which of them exist.
"""

from pathlib import Path

# No kernel is built for more; a longer list is not a list of CPUs.
MAX_CPUS = 65_536


def read_text(path: Path) -> str | None:
    """The file's text without surrounding white space, or None when it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The whole number that is the file's only content, or None."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def read_fields(path: Path) -> dict[str, str]:
    """The lines `key: value` or `key value` of a file; of a repeated key, the first line."""
    fields: dict[str, str] = {}
    for line in (read_text(path) or "").splitlines():
        key, _, value = line.partition(":" if ":" in line else " ")
        fields.setdefault(key.strip(), value.strip())
    return fields


def parse_cpu_list(text: str) -> frozenset[int]:
    """The CPU numbers of a kernel list such as "0-3,8"; empty when it is not such a list."""
    cpus: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            low, high = int(first), int(last or first)
            if not 0 <= low <= high < MAX_CPUS:
                return frozenset()
            cpus.update(range(low, high + 1))
    except ValueError:
        return frozenset()
    return frozenset(cpus)


def read_cpu_list(path: Path) -> frozenset[int]:
    """The CPU numbers in a file that holds a kernel list; empty when it can't be read."""
    return parse_cpu_list(read_text(path) or "")
