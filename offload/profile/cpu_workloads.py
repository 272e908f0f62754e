"""The ops of the CPU on operands that are larger than its caches, as `DeviceWorkloads`."""

import time
from collections.abc import Callable
from functools import cached_property

import numpy as np

from slipstream.cpu_kernels import KVPages, QuantType, compiled
from slipstream.offload.machine import Machine
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

SMALLEST_CYCLED_BYTES = 64 * 1024**2
LARGEST_RAM_SHARE = 1 / 8
TINY_OPS = 100


def cpu_sizes(machine: Machine) -> Sizes:
    """Twice what the last-level cache holds, unless RAM is too short for that."""
    wanted = max(SMALLEST_CYCLED_BYTES, 2 * (machine.last_level_cache_bytes or 0))
    allowed = int(machine.ram_available_bytes * LARGEST_RAM_SHARE)
    return Sizes(cycled_bytes=min(wanted, allowed))


class CpuWorkloads:
    """Ops without Python between them, as the runtime runs a step; nothing else should compute."""

    def __init__(self, threads: int, sizes: Sizes) -> None:
        """threads : that compute, from now on, all ops of this process"""
        self.sizes = sizes
        compiled.set_num_threads(threads)

    def products(self, quant_type: QuantType) -> Products:
        """As `DeviceWorkloads`."""
        side = self.sizes.matrix_side
        raw = random_file_rows(quant_type, side, side)
        num_matrices = self.sizes.num_matrices(quant_type)
        weights = [compiled.pack_weight(raw, quant_type, side) for _ in range(num_matrices)]
        return Products(
            num_bytes=weights[0].num_bytes,
            of_rows=lambda rows: _multiplying(weights[: ops_of_a_run(num_matrices, rows)], rows),
        )

    def attention(self, keys: int, rows: int) -> Workload:
        """As `DeviceWorkloads`."""
        sizes = self.sizes
        q = random_activations(rows, sizes.num_heads, sizes.head_size)
        out, scale = np.empty_like(q), sizes.head_size**-0.5
        sequences = sequences_of(sizes.num_pages, keys, rows)

        with compiled.capturing() as program:
            for visibility in sequences:
                compiled.attention(q, self._pages, visibility, scale=scale, out=out)
        return Workload(run=program.run, count=len(sequences))

    def tiny_op(self) -> Workload:
        """As `DeviceWorkloads`: a product that stays in the caches."""
        raw = random_file_rows(QuantType.Q8_0, TINY_SIDE, TINY_SIDE)
        weight = compiled.pack_weight(raw, QuantType.Q8_0, TINY_SIDE)
        return _multiplying([weight] * TINY_OPS, rows=1)

    def seconds(self, run: Callable[[], object]) -> float:
        """As `DeviceWorkloads`."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    @cached_property
    def _pages(self) -> KVPages:
        """One layer's keys and values, all written: pages never written are the same everywhere."""
        pages = KVPages.empty(
            num_pages=self.sizes.num_pages,
            num_heads=self.sizes.num_kv_heads,
            head_size=self.sizes.head_size,
            page_size=PAGE_TOKENS,
            dtype="float16",
        )
        page = random_activations(self.sizes.num_kv_heads, PAGE_TOKENS, self.sizes.head_size)
        pages.keys[:] = page.swapaxes(1, 2)
        pages.values[:] = page
        return pages


def _multiplying(weights: list[compiled.Weight], rows: int) -> Workload:
    x = random_activations(rows, weights[0].columns)
    out = np.empty((rows, weights[0].rows), np.float32)

    with compiled.capturing() as program:
        for weight in weights:
            compiled.matmul(x, weight, out=out)
    return Workload(run=program.run, count=len(weights))
