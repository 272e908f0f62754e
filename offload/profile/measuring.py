"""Fills the tables of a device and of a link with medians of timed runs."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

Progress = Callable[[int, int], None]  # told (done, total) before each figure and at the end


class _Timer(Protocol):
    def seconds(self, run: Callable[[], object]) -> float: ...


def measure_products(
    device: DeviceWorkloads, quant_types: Sequence[str], progress: Progress | None = None
) -> dict[str, MeasuredProduct]:
    """Products with weights of each quantisation by name."""
    figures = _Figures(device, _num_products(device, quant_types), progress)
    products = _measure_products(device, quant_types, figures)
    figures.end()
    return products


def measure_device(
    device: DeviceWorkloads, quant_types: Sequence[str], progress: Progress | None = None
) -> MeasuredDeviceCosts:
    """All tables of a device, with products of these quantisations."""
    sizes = device.sizes
    num_attentions = len(sizes.attention_rows) * len(sizes.attention_keys)
    total = _num_products(device, quant_types) + num_attentions + 1
    figures = _Figures(device, total, progress)
    costs = MeasuredDeviceCosts(
        products=_measure_products(device, quant_types, figures),
        attention=_measure_attention(device, figures),
        op_overhead_s=figures.median_seconds(device.tiny_op()),
    )
    figures.end()
    return costs


def measure_link(link: LinkWorkloads, progress: Progress | None = None) -> MeasuredLinkCosts:
    """Copies of all sizes in both directions, with pinned and with pageable host memory."""
    total = len(DIRECTIONS) * len(HOST_MEMORIES) * len(COPY_BYTES)
    figures = _Figures(link, total, progress)
    copies: dict[Direction, dict[HostMemory, Curve]] = {}
    for direction in DIRECTIONS:
        copies[direction] = {}
        for memory in HOST_MEMORIES:
            seconds = [
                figures.median_seconds(link.copy(num_bytes, direction, memory))
                for num_bytes in COPY_BYTES
            ]
            values = tuple(without_decrease(seconds).tolist())
            copies[direction][memory] = Curve(COPY_BYTES, values)
    figures.end()
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


@dataclass(slots=True)
class _Figures:
    """Takes one figure after another and tells how many are done."""

    timer: _Timer
    total: int
    progress: Progress | None
    done: int = 0

    def median_seconds(self, workload: Workload) -> float:
        self._tell()
        self.done += 1
        return median_seconds(self.timer, workload)

    def end(self) -> None:
        assert self.done == self.total
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.done, self.total)


def _num_products(device: DeviceWorkloads, quant_types: Sequence[str]) -> int:
    return len(quant_types) * len(device.sizes.product_rows)


def _measure_products(
    device: DeviceWorkloads, quant_types: Sequence[str], figures: _Figures
) -> dict[str, MeasuredProduct]:
    rows, side, measured = device.sizes.product_rows, device.sizes.matrix_side, {}
    for name in quant_types:
        products = device.products(QuantType[name])
        seconds = [figures.median_seconds(products.of_rows(num_rows)) for num_rows in rows]
        per_byte = without_decrease(seconds) / products.num_bytes
        measured[name] = MeasuredProduct(
            seconds_per_byte=Curve(rows, tuple(per_byte.tolist())),
            bytes_per_weight=products.num_bytes / side**2,
        )
    return measured


def _measure_attention(device: DeviceWorkloads, figures: _Figures) -> MeasuredAttention:
    sizes = device.sizes
    seconds = without_decrease(
        [
            [figures.median_seconds(device.attention(keys, rows)) for keys in sizes.attention_keys]
            for rows in sizes.attention_rows
        ]
    )
    return MeasuredAttention(
        rows=sizes.attention_rows,
        by_keys=tuple(Curve(sizes.attention_keys, tuple(each)) for each in seconds.tolist()),
        kv_bytes_per_token=sizes.kv_bytes_per_token,
        multiply_adds=sizes.attention_multiply_adds,
    )
