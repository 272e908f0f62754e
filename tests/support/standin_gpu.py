"""A GPU for tests: the strict device, with memory that can run out and costs that make it pay."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipstream.cpu_kernels import compiled
from slipstream.offload.device_costs import MachineCosts, NominalDeviceCosts, NominalLinkCosts
from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES, Device, Placement
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.runtime.loading import plan_model
from slipstream.runtime.options import Options
from slipstream.runtime.planning import placing, planner
from slipstream.runtime.planning.gpu import Gpu
from support.strict_device import DeviceMemoryError, strict_backend

MB = 10**6


class StandinGpu:
    """A device beside the host, and what was taken of its memory.

    told_bytes : free, as it says before loading; plans leave their margin of it
    true_bytes : of tensors that it really has room for; what it says after the first loading
    used_bytes : of weights, pages and buffers since the last loading began
    """

    def __init__(self, told_bytes: int, true_bytes: int | None = None) -> None:
        self.told_bytes = told_bytes
        self.true_bytes = told_bytes if true_bytes is None else true_bytes
        self.used_bytes = 0
        self.limits: list[int] = []
        self.released: list[int] = []
        self.backend = strict_backend("device", compiled, on_device=True)
        ops = self.backend.ops
        ops.free_bytes = lambda: self.true_bytes - self.used_bytes if self.limits else told_bytes
        ops.limit_bytes = self._begin
        ops.peak_bytes = lambda: self.used_bytes
        ops.release_bytes = self._release
        ops.pack_weight = self._counted(ops.pack_weight, lambda weight: weight.num_bytes)
        ops.empty = self._counted(ops.empty, lambda array: array.nbytes)
        ops.KVPages = self._pages_type(ops.KVPages)
        ops.StagedLayer = self._staged_type(ops.StagedLayer)

    def found(self, options: Options, *_: Any, may_have_less: bool) -> Gpu:
        """In the place of `runtime.planning.gpu.find_gpu`: it has measured costs, and is fast."""
        if options.vram_bytes == 0:
            raise planner.NoGpuError("vram_bytes is 0")
        free_bytes = min(self.told_bytes, room(self.true_bytes))
        free_bytes = free_bytes if self.limits else self.told_bytes
        return Gpu(
            name="Stand-in",
            backend=self.backend,
            costs=MachineCosts(
                cpu=NominalDeviceCosts(
                    read_gb_per_s=1, multiply_adds_per_s=1e9, layer_overhead_s=1e-4
                ),
                gpu=NominalDeviceCosts(
                    read_gb_per_s=100, multiply_adds_per_s=1e12, layer_overhead_s=0
                ),
                link=NominalLinkCosts(gb_per_s=100, latency_s=0),
                ram_bytes=10**10,
                vram_bytes=free_bytes,
            ),
        )

    def _begin(self, num_bytes: int) -> None:
        self.limits.append(num_bytes)
        self.used_bytes = 0

    def _release(self, num_bytes: int) -> None:
        assert num_bytes in self.limits
        self.released.append(num_bytes)

    def _take(self, num_bytes: int) -> None:
        self.used_bytes += num_bytes
        if self.used_bytes > self.true_bytes:
            raise DeviceMemoryError("out of memory")

    def _counted(self, make: Callable[..., Any], size: Callable[[Any], int]) -> Callable[..., Any]:
        def made(*given: Any, **named: Any) -> Any:
            result = make(*given, **named)
            self._take(size(result))
            return result

        return made

    def _staged_type(self, staged: type) -> type:
        gpu = self

        class CountedLayer(staged):
            device_pages = gpu.backend.ops.KVPages

            def __init__(self, weights_bytes: int, like: Any) -> None:
                gpu._take(weights_bytes)
                super().__init__(weights_bytes, like)

        return CountedLayer

    def _pages_type(self, pages: type) -> type:
        gpu = self

        class CountedPages(pages):
            @classmethod
            def empty(cls, **sizes: Any) -> Any:
                made = super().empty(**sizes)
                gpu._take(sum(array.nbytes for array in (made.keys, made.values)))
                return made

        return CountedPages


def use(gpu: StandinGpu, patch: pytest.MonkeyPatch) -> None:
    """Models are planned onto it while the patch lasts."""
    patch.setattr(planner, "find_gpu", gpu.found)


def room(num_bytes: int) -> int:
    """VRAM that leaves so much beside the margin."""
    return VRAM_MARGIN_BYTES + num_bytes


def planned_so(
    patch: pytest.MonkeyPatch,
    num_layers: int,
    layers: Collection[int],
    head_on_gpu: bool,
    draft_device: Device,
) -> Placement:
    """Plans have this placement, in place of what the planner finds, while the patch lasts."""
    place = placing.place
    placement = Placement(
        layers_on_gpu=tuple(each in layers for each in range(num_layers)),
        head_on_gpu=head_on_gpu,
        draft_device=draft_device,
    )

    def placed(*given: Any, streams: bool) -> PlacementPlan:
        made = place(*given, streams=False)
        return replace(made, chosen=replace(made.chosen, placement=placement))

    patch.setattr(planner, "place", placed)
    return placement


def streaming_budget(path: Path, num_layers: int) -> int:
    """VRAM with which so many layers are streamed, in a context of 512 tokens, by plans alone."""
    limit: int | None = None
    for _ in range(30):  # less each time
        made = plan_model(path, Options(vram_bytes=limit, context=512)).placement
        assert made is not None
        if made.streaming is not None and made.streaming.num_layers == num_layers:
            return made.chosen.vram_bytes
        limit = made.chosen.vram_bytes - 1
    raise AssertionError(f"{num_layers} layers are never streamed")
