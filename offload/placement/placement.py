"""Where the parts of a model lie: some in the memory of a GPU, the rest in RAM."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from slipstream.offload.model_parts import ModelParts

Device = Literal["cpu", "gpu"]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Of a GPU's memory, for what no plan can count: the driver's context with the compiled kernels, the
# rounding up of allocations and what the screen shows. An assumption, to be checked on each GPU.
VRAM_MARGIN_BYTES = 384 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Any set of layers on the GPU, with their KV cache; the other layers are on the CPU.

    `draft_device` has the whole draft; None where no draft is used.
    """

    layers_on_gpu: tuple[bool, ...]  # one for each layer of the model
    head_on_gpu: bool
    draft_device: Device | None

    @classmethod
    def window(
        cls,
        num_layers: int,
        *,
        first: int = 0,
        end: int = 0,
        head_on_gpu: bool = False,
        draft_device: Device | None = None,
    ) -> Self:
        """Of `num_layers` layers, those from `first` up to but without `end` on the GPU."""
        return cls(
            layers_on_gpu=tuple(first <= layer_id < end for layer_id in range(num_layers)),
            head_on_gpu=head_on_gpu,
            draft_device=draft_device,
        )

    @property
    def num_gpu_layers(self) -> int:
        """Layers on the GPU."""
        return sum(self.layers_on_gpu)

    @property
    def has_target_part(self) -> bool:
        """Whether layers or the head of the target are on the GPU."""
        return self.num_gpu_layers > 0 or self.head_on_gpu

    @property
    def uses_gpu(self) -> bool:
        """Whether anything is on the GPU."""
        return self.has_target_part or self.draft_device == "gpu"

    @property
    def draft_goes_on(self) -> bool:
        """Whether a draft on the GPU can go on while the CPU has its layers of the target."""
        return self.draft_device == "gpu" and not all(self.layers_on_gpu)

    def device_of(self, layer_id: int) -> Device:
        """Where a layer lies."""
        return "gpu" if self.layers_on_gpu[layer_id] else "cpu"

    def gpu_ranges(self) -> Iterator[tuple[int, int]]:
        """First and last layer of each run of layers on the GPU, in order."""
        layer_ids = range(len(self.layers_on_gpu))
        for on_gpu, run in groupby(layer_ids, key=self.layers_on_gpu.__getitem__):
            if on_gpu:
                ids = list(run)
                yield ids[0], ids[-1]

    def vram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> int:
        """Bytes that the GPU's memory must have, as `Placements.vram_bytes`."""
        return int(Placements.of([self]).vram_bytes(parts, draft, context)[0])

    def ram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> int:
        """Bytes that it takes in RAM, as `Placements.ram_bytes`."""
        return int(Placements.of([self]).ram_bytes(parts, draft, context)[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placements:
    """Many placements of a model of L layers: element n of each array belongs to placement n."""

    layers_on_gpu: BoolArray  # (N, L)
    head_on_gpu: BoolArray  # (N,)
    draft_on_cpu: BoolArray  # (N,)
    draft_on_gpu: BoolArray  # (N,)

    @classmethod
    def of(cls, placements: Sequence[Placement]) -> Self:
        """These placements, in their order; all of models with as many layers."""
        return cls(
            layers_on_gpu=np.array([each.layers_on_gpu for each in placements], dtype=np.bool_),
            head_on_gpu=np.array([each.head_on_gpu for each in placements], dtype=np.bool_),
            draft_on_cpu=np.array([each.draft_device == "cpu" for each in placements]),
            draft_on_gpu=np.array([each.draft_device == "gpu" for each in placements]),
        )

    @classmethod
    def with_each_head_and_draft(cls, sets: BoolArray, *, has_gpu: bool, has_draft: bool) -> Self:
        """Each set of layers (N, L) with each place of the head and of the draft, or without it."""
        heads = (False, True) if has_gpu else (False,)
        devices: tuple[Device, ...] = ("cpu", "gpu") if has_gpu else ("cpu",)
        drafts: tuple[Device | None, ...] = (None, *devices) if has_draft else (None,)
        choices = [(head, draft) for head in heads for draft in drafts]
        return cls(
            layers_on_gpu=np.tile(sets, (len(choices), 1)),
            head_on_gpu=np.repeat([head for head, _ in choices], len(sets)),
            draft_on_cpu=np.repeat([draft == "cpu" for _, draft in choices], len(sets)),
            draft_on_gpu=np.repeat([draft == "gpu" for _, draft in choices], len(sets)),
        )

    def __len__(self) -> int:
        return len(self.head_on_gpu)

    def __getitem__(self, index: int) -> Placement:
        device: Device | None = None
        if self.draft_on_cpu[index]:
            device = "cpu"
        elif self.draft_on_gpu[index]:
            device = "gpu"
        return Placement(
            layers_on_gpu=tuple(self.layers_on_gpu[index].tolist()),
            head_on_gpu=bool(self.head_on_gpu[index]),
            draft_device=device,
        )

    def same_head_and_draft(self, placement: Placement) -> BoolArray:
        """Those that have the head and the draft where `placement` has them."""
        differs = self.head_on_gpu ^ placement.head_on_gpu
        differs |= self.draft_on_cpu ^ (placement.draft_device == "cpu")
        differs |= self.draft_on_gpu ^ (placement.draft_device == "gpu")
        return ~differs

    @property
    def num_gpu_layers(self) -> IntArray:
        """Layers on the GPU in each."""
        counts: IntArray = np.count_nonzero(self.layers_on_gpu, axis=1)
        return counts

    @property
    def uses_gpu(self) -> BoolArray:
        """Whether anything is on the GPU."""
        return self.layers_on_gpu.any(axis=1) | self.head_on_gpu | self.draft_on_gpu

    @property
    def draft_goes_on(self) -> BoolArray:
        """Whether a draft on the GPU can go on while the CPU has its layers of the target."""
        return self.draft_on_gpu & ~self.layers_on_gpu.all(axis=1)

    def vram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> IntArray:
        """Bytes that the GPU's memory must have; 0 where the GPU is not used.

        Weights and KV cache of the layers, head, the workspace if there is any of them, weights, KV
        cache and workspace of the draft, and a margin.
        """
        any_part = self.layers_on_gpu.any(axis=1) | self.head_on_gpu
        return (
            self._gpu_layer_bytes(parts, context)
            + _bytes_where(self.head_on_gpu, parts.head_bytes)
            + _bytes_where(any_part, parts.gpu_workspace_bytes(context))
            + _bytes_where(self.draft_on_gpu, _draft_bytes(draft, context, on_gpu=True))
            + _bytes_where(self.uses_gpu, VRAM_MARGIN_BYTES)
        )

    def ram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> IntArray:
        """Bytes in RAM: what is not on the GPU, and the target's workspace in any case."""
        return (
            _bytes_where(~self.head_on_gpu, parts.head_bytes)
            + _bytes_where(self.draft_on_cpu, _draft_bytes(draft, context, on_gpu=False))
            + (sum(parts.layer_bytes(context)) + parts.workspace_bytes)
            - self._gpu_layer_bytes(parts, context)
        )

    def layer_crossings(self) -> IntArray:
        """How often a step's hidden states cross the link before and between the layers.

        The embedding is on the CPU, so they enter each run of layers on the GPU, and leave one that
        ends early.
        """
        changes = self.layers_on_gpu[:, 1:] != self.layers_on_gpu[:, :-1]
        counts: IntArray = np.count_nonzero(changes, axis=1) + self.layers_on_gpu[:, 0]
        return counts

    def head_crosses(self) -> BoolArray:
        """Whether the head is not where the last layer is, so that its input crosses the link."""
        return self.layers_on_gpu[:, -1] ^ self.head_on_gpu

    def _gpu_layer_bytes(self, parts: ModelParts, context: int) -> IntArray:
        sizes = np.array(parts.layer_bytes(context), dtype=np.int64)
        return self.layers_on_gpu.astype(np.int64) @ sizes


def _draft_bytes(draft: ModelParts | None, context: int, *, on_gpu: bool) -> int:
    return 0 if draft is None else draft.whole_bytes(context, on_gpu=on_gpu)


def _bytes_where(chosen: BoolArray, num_bytes: int) -> IntArray:
    return np.where(chosen, num_bytes, 0)
