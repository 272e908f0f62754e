"""Fills the tables of a device and of a link with medians of timed runs."""

import statistics
from collections.abc import Callable, Sequence
from typing import Protocol

from slipstream.cpu_kernels import QuantType
from slipstream.offload.profile.curve import Curve, without_decrease
from slipstream.offload.profile.measured_costs import (
    DIRECTIONS,
    HOST_MEMORIES,
    Direction,
    HostMemory,
    MeasuredAttention,
    MeasuredDeviceCosts,
    MeasuredLinkCosts,
    MeasuredProduct,
)
from slipstream.offload.profile.workloads import DeviceWorkloads, LinkWorkloads, Workload

COPY_BYTES = tuple(4096 * 4**step for step in range(8))  # 4 KiB to 64 MiB

RUNS_S = 0.1  # of timed runs for each figure, as the device counts
LEAST_RUNS, MOST_RUNS = 3, 200
LONG_RUN_S = 0.5  # of which one is enough

Progress = Callable[[int, int], None]  # told (done, total) figures


class _Timer(Protocol):
    def seconds(self, run: Callable[[], object]) -> float: ...


def measure_products(
    device: DeviceWorkloads, quant_types: Sequence[str], progress: Progress | None = None
) -> dict[str, MeasuredProduct]:
    """Products with weights of each quantisation by name."""
    rows, measured, done = device.sizes.product_rows, {}, 0
    for name in quant_types:
        products = device.products(QuantType[name])
        seconds = []
        for num_rows in rows:
            _tell(progress, done, len(quant_types) * len(rows))
            seconds.append(median_seconds(device, products.of_rows(num_rows)))
            done += 1
        per_byte = without_decrease(seconds) / products.num_bytes
        measured[name] = MeasuredProduct(
            seconds_per_byte=Curve(rows, tuple(per_byte.tolist())),
            bytes_per_weight=products.num_bytes / device.sizes.matrix_side**2,
        )
    return measured


def measure_device(
    device: DeviceWorkloads, quant_types: Sequence[str], progress: Progress | None = None
) -> MeasuredDeviceCosts:
    """All tables of a device, with products of these quantisations."""
    return MeasuredDeviceCosts(
        products=measure_products(device, quant_types, progress),
        attention=_measure_attention(device),
        op_overhead_s=median_seconds(device, device.tiny_op()),
    )


def measure_link(link: LinkWorkloads, progress: Progress | None = None) -> MeasuredLinkCosts:
    """Copies of all sizes in both directions, with pinned and with pageable host memory."""
    total = len(DIRECTIONS) * len(HOST_MEMORIES)
    copies: dict[Direction, dict[HostMemory, Curve]] = {}
    done = 0
    for direction in DIRECTIONS:
        copies[direction] = {}
        for memory in HOST_MEMORIES:
            seconds = [
                median_seconds(link, link.copy(num_bytes, direction, memory))
                for num_bytes in COPY_BYTES
            ]
            values = tuple(without_decrease(seconds).tolist())
            copies[direction][memory] = Curve(COPY_BYTES, values)
            done += 1
            _tell(progress, done, total)
    return MeasuredLinkCosts(copies=copies)


def median_seconds(timer: _Timer, workload: Workload) -> float:
    """Median seconds of one of the workload's ops.

    Runs of `RUNS_S` together, `LEAST_RUNS` at least and `MOST_RUNS` at most, of which the first,
    slower one does not matter to the median; or a single long one.
    """
    seconds = [timer.seconds(workload.run)]
    while seconds[0] < LONG_RUN_S and (
        len(seconds) < LEAST_RUNS or (sum(seconds) < RUNS_S and len(seconds) < MOST_RUNS)
    ):
        seconds.append(timer.seconds(workload.run))
    return statistics.median(seconds) / workload.count


def _measure_attention(device: DeviceWorkloads) -> MeasuredAttention:
    sizes = device.sizes
    seconds = without_decrease(
        [
            [median_seconds(device, device.attention(keys, rows)) for keys in sizes.attention_keys]
            for rows in sizes.attention_rows
        ]
    )
    return MeasuredAttention(
        rows=sizes.attention_rows,
        by_keys=tuple(Curve(sizes.attention_keys, tuple(each)) for each in seconds.tolist()),
        kv_bytes_per_token=sizes.kv_bytes_per_token,
        multiply_adds=sizes.attention_multiply_adds,
    )


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
