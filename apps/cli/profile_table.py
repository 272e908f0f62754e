"""A machine's measured figures as tables that people read."""

from slipstream.offload.profile.machine_profile import MachineProfile
from slipstream.offload.profile.measured_costs import (
    DIRECTIONS,
    HOST_MEMORIES,
    MeasuredDeviceCosts,
    MeasuredLinkCosts,
)
from slipstream.offload.table import aligned
from slipstream.offload.units import format_bytes

MANY_ROWS = 512  # for which products are shown beside those of one row
DIRECTION_NAMES = {"to_gpu": "to the GPU", "to_host": "to the host"}


def profile_lines(profile: MachineProfile) -> list[str]:
    """Products and attention of each device, then copies; or why there is no GPU."""
    lines = device_lines(f"CPU, {profile.threads} threads", profile.cpu)
    if profile.gpu is None or profile.link is None:
        return [*lines, "", f"GPU: not measured ({profile.gpu_problem})"]
    lines += ["", *device_lines("GPU", profile.gpu)]
    return [*lines, "", *link_lines(profile.link)]


def device_lines(name: str, device: MeasuredDeviceCosts) -> list[str]:
    """A table of products, one of attention, and the overhead of an op."""
    products = [
        (f"{name}: product with", "reads, 1 row", f"multiply-adds/s, {MANY_ROWS} rows"),
        *(
            (
                quant_type,
                f"{product.read_gb_per_s():.1f} GB/s",
                f"{product.multiply_adds_per_s(MANY_ROWS) / 1e9:.3g} G",
            )
            for quant_type, product in device.products.items()
        ),
    ]
    keys = device.attention.by_keys[0].points
    attention = [
        (f"{name}: attention with", *(f"{num_keys:,} keys" for num_keys in keys)),
        *(
            (
                "1 row" if num_rows == 1 else f"{num_rows} rows",
                *(format_seconds(seconds) for seconds in by_keys.values),
            )
            for num_rows, by_keys in zip(
                device.attention.rows, device.attention.by_keys, strict=True
            )
        ),
    ]
    overhead = f"{name}: each op takes {format_seconds(device.op_overhead_s)} whatever its size"
    return [*aligned(products), "", *aligned(attention), "", overhead]


def link_lines(link: MeasuredLinkCosts) -> list[str]:
    """The smallest and the largest copy, in both directions."""
    smallest, *_, largest = link.copies["to_gpu"]["pinned"].points
    rows = [("link", f"copy of {format_bytes(smallest)}", f"of {format_bytes(largest)}")]
    for direction in DIRECTIONS:
        for memory in HOST_MEMORIES:
            short_s = link.copy_seconds(smallest, direction, memory)
            gb_per_s = largest / link.copy_seconds(largest, direction, memory) / 1e9
            rows.append(
                (
                    f"{DIRECTION_NAMES[direction]}, {memory}",
                    format_seconds(short_s),
                    f"{gb_per_s:.1f} GB/s",
                )
            )
    return aligned(rows)


def format_seconds(seconds: float) -> str:
    """`seconds` to three digits in us, ms or s: 0.00123 is "1.23 ms"."""
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        # From 999.5 on, three digits round to 1000, which reads better in the next unit.
        if seconds < 999.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
