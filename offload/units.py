"""Byte counts as people read and write them, in powers of ten: 1 GB is 1,000,000,000 bytes."""

import re

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def format_bytes(num_bytes: float) -> str:
    """`num_bytes` to three digits in B, kB, MB, GB or TB: 1_234_000 is "1.23 MB"."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        # From 999.5 on, three digits round to 1000, which reads better in the next unit.
        if abs(size) < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 999.5 else f"{size:,.0f} TB"


def parse_bytes(text: str) -> int:
    """Bytes of a text such as "3GB", "512 MB", "1.5GiB" (in powers of 1024) or "1000".

    Raises ValueError for other texts.
    """
    size = _SIZE.fullmatch(text)
    if size is None:
        raise ValueError(f"expected a size such as 3GB or 512MB, got {text!r}")
    number, unit = size[1], size[2].lower().removesuffix("b")
    base = 1024 if unit.endswith("i") else 1000
    power = _POWERS[unit.removesuffix("i")]
    return round(float(number) * float(base**power))
