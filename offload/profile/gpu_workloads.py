"""The ops of the GPU and copies to and from it, as `DeviceWorkloads` and `LinkWorkloads`."""

import time
from collections.abc import Callable, Sequence
from functools import cached_property

import torch

from slipstream import gpu_kernels
from slipstream.cpu_kernels import QuantType, Visibility
from slipstream.gpu_kernels import KVPages, Weight, compute_device, from_host
from slipstream.gpu_kernels.graph_timing import seconds_on_gpu
from slipstream.gpu_kernels.tuning import tune
from slipstream.offload.profile.measured_costs import Direction, HostMemory
from slipstream.offload.profile.workloads import (
    PAGE_TOKENS,
    TINY_SIDE,
    Products,
    Sizes,
    Workload,
    ops_of_a_run,
    random_activations,
    random_file_rows,
    sequences_of,
)

CYCLED_BYTES = 256 * 1024**2  # more than any GPU's cache holds
LARGEST_VRAM_SHARE = 1 / 8  # of what is free
TINY_OPS = 100


def gpu_sizes() -> Sizes:
    """Operands larger than a GPU's cache, unless its memory is too short for that."""
    free_bytes, _ = torch.cuda.mem_get_info(compute_device())
    return Sizes(cycled_bytes=min(CYCLED_BYTES, int(free_bytes * LARGEST_VRAM_SHARE)))


class GpuWorkloads:
    """Ops that are launched one after another, as the runtime does, and timed by the GPU.

    Each workload runs once when it is made, which compiles its kernels.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    def tune(self, quant_types: Sequence[str], progress: Callable[[int, int], None] | None) -> None:
        """As `GpuAccess`."""
        tune([QuantType[name] for name in quant_types], progress=progress)

    def products(self, quant_type: QuantType) -> Products:
        """As `DeviceWorkloads`."""
        side = self.sizes.matrix_side
        raw = random_file_rows(quant_type, side, side)
        num_matrices = self.sizes.num_matrices(quant_type)
        weights = [gpu_kernels.pack_weight(raw, quant_type, side) for _ in range(num_matrices)]
        return Products(
            num_bytes=weights[0].num_bytes,
            of_rows=lambda rows: _multiplying(weights[: ops_of_a_run(num_matrices, rows)], rows),
        )

    def attention(self, keys: int, rows: int) -> Workload:
        """As `DeviceWorkloads`."""
        sizes, pages = self.sizes, self._pages
        q = from_host(random_activations(rows, sizes.num_heads, sizes.head_size))
        out, scale = torch.empty_like(q), sizes.head_size**-0.5
        sequences = [
            visibility_on_device(each) for each in sequences_of(sizes.num_pages, keys, rows)
        ]

        def attend() -> None:
            for visibility in sequences:
                gpu_kernels.attention(q, pages, visibility, scale=scale, out=out)

        attend()
        return Workload(run=attend, count=len(sequences))

    def tiny_op(self) -> Workload:
        """As `DeviceWorkloads`: a product that is over before the next one is launched."""
        raw = random_file_rows(QuantType.Q8_0, TINY_SIDE, TINY_SIDE)
        weight = gpu_kernels.pack_weight(raw, QuantType.Q8_0, TINY_SIDE)
        return _multiplying([weight] * TINY_OPS, rows=1)

    def seconds(self, run: Callable[[], object]) -> float:
        """As `DeviceWorkloads`: between two events on the GPU."""
        return seconds_on_gpu(run)

    @cached_property
    def _pages(self) -> KVPages:
        """One layer's keys and values."""
        pages = KVPages.empty(
            num_pages=self.sizes.num_pages,
            num_heads=self.sizes.num_kv_heads,
            head_size=self.sizes.head_size,
            page_size=PAGE_TOKENS,
            dtype="float16",
        )
        page = random_activations(self.sizes.num_kv_heads, PAGE_TOKENS, self.sizes.head_size)
        pages.keys[:] = from_host(page.swapaxes(1, 2).copy())
        pages.values[:] = from_host(page)
        return pages


class LinkCopies:
    """Copies between host and GPU, each waited for, timed by the host, as `LinkWorkloads`."""

    def copy(self, num_bytes: int, direction: Direction, memory: HostMemory) -> Workload:
        """As `LinkWorkloads`."""
        pinned = memory == "pinned"
        host = torch.zeros(num_bytes, dtype=torch.uint8, pin_memory=pinned)
        device = torch.zeros(num_bytes, dtype=torch.uint8, device=compute_device())
        source, target = (host, device) if direction == "to_gpu" else (device, host)

        def copy() -> None:
            target.copy_(source, non_blocking=pinned)
            gpu_kernels.synchronize()

        copy()
        return Workload(run=copy, count=1)

    def seconds(self, run: Callable[[], object]) -> float:
        """As `LinkWorkloads`."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


def _multiplying(weights: Sequence[Weight], rows: int) -> Workload:
    x = from_host(random_activations(rows, weights[0].columns))
    out = gpu_kernels.empty(rows, weights[0].rows)

    def multiply() -> None:
        for weight in weights:
            gpu_kernels.matmul(x, weight, out=out)

    multiply()
    return Workload(run=multiply, count=len(weights))


def visibility_on_device(visibility: Visibility) -> Visibility:
    """The same with tensors for arrays."""
    return Visibility(
        sequences=from_host(visibility.sequences),
        page_tables=from_host(visibility.page_tables),
        past=from_host(visibility.past),
        first_key=from_host(visibility.first_key),
        mask=from_host(visibility.mask),
        num_new=from_host(visibility.num_new),
    )
