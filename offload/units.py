"""Byte counts as people read them, in powers of ten: 1 GB is 1,000,000,000 bytes."""


def format_bytes(num_bytes: float) -> str:
    """`num_bytes` to three digits in B, kB, MB, GB or TB: 1_234_000 is "1.23 MB"."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        # From 999.5 on, three digits round to 1000, which reads better in the next unit.
        if abs(size) < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 999.5 else f"{size:,.0f} TB"
