"""Where the parts of a model lie: some in the memory of a GPU, the rest in RAM."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
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
    """A window of layers on the GPU, with their KV cache; the other layers are on the CPU.

    `end_layer` is the first one behind the window, which is empty where both are 0.
    `draft_device` has the whole draft model; None where no draft is used.
    """

    first_layer: int
    end_layer: int
    head_on_gpu: bool
    draft_device: Device | None

    @property
    def num_gpu_layers(self) -> int:
        """Layers in the window."""
        return self.end_layer - self.first_layer

    @property
    def uses_gpu(self) -> bool:
        """Whether anything is on the GPU."""
        return self.num_gpu_layers > 0 or self.head_on_gpu or self.draft_device == "gpu"

    def vram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> int:
        """Bytes that the GPU's memory must have, as `Placements.vram_bytes`."""
        return int(Placements.of([self]).vram_bytes(parts, draft, context)[0])

    def ram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> int:
        """Bytes that it takes in RAM, as `Placements.ram_bytes`."""
        return int(Placements.of([self]).ram_bytes(parts, draft, context)[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placements:
    """Many placements: element n of each array, all of shape (N,), belongs to placement n."""

    first_layer: IntArray
    end_layer: IntArray
    head_on_gpu: BoolArray
    draft_on_cpu: BoolArray
    draft_on_gpu: BoolArray

    @classmethod
    def of(cls, placements: Sequence[Placement]) -> Self:
        """These placements, in their order."""
        return cls(
            first_layer=np.array([each.first_layer for each in placements], dtype=np.int64),
            end_layer=np.array([each.end_layer for each in placements], dtype=np.int64),
            head_on_gpu=np.array([each.head_on_gpu for each in placements], dtype=np.bool_),
            draft_on_cpu=np.array([each.draft_device == "cpu" for each in placements]),
            draft_on_gpu=np.array([each.draft_device == "gpu" for each in placements]),
        )

    @classmethod
    def every(cls, num_layers: int, *, has_gpu: bool, has_draft: bool) -> Self:
        """Each window of layers with each place of the head and of the draft, or without it."""
        windows = [(0, 0)]
        if has_gpu:
            windows += combinations(range(num_layers + 1), 2)
        heads = (False, True) if has_gpu else (False,)
        devices: tuple[Device, ...] = ("cpu", "gpu") if has_gpu else ("cpu",)
        drafts: tuple[Device | None, ...] = (None, *devices) if has_draft else (None,)
        choices = list(product(heads, drafts))
        first, end = np.array(windows, dtype=np.int64).T
        return cls(
            first_layer=np.tile(first, len(choices)),
            end_layer=np.tile(end, len(choices)),
            head_on_gpu=np.repeat([head for head, _ in choices], len(windows)),
            draft_on_cpu=np.repeat([draft == "cpu" for _, draft in choices], len(windows)),
            draft_on_gpu=np.repeat([draft == "gpu" for _, draft in choices], len(windows)),
        )

    def __len__(self) -> int:
        return len(self.first_layer)

    def __getitem__(self, index: int) -> Placement:
        device: Device | None = None
        if self.draft_on_cpu[index]:
            device = "cpu"
        elif self.draft_on_gpu[index]:
            device = "gpu"
        return Placement(
            first_layer=int(self.first_layer[index]),
            end_layer=int(self.end_layer[index]),
            head_on_gpu=bool(self.head_on_gpu[index]),
            draft_device=device,
        )

    def index(self, placement: Placement) -> int:
        """Where `placement` is; IndexError when it is nowhere."""
        found = self.same_head_and_draft(placement)
        found &= self.first_layer == placement.first_layer
        found &= self.end_layer == placement.end_layer
        return int(np.flatnonzero(found)[0])

    def same_head_and_draft(self, placement: Placement) -> BoolArray:
        """Those that have the head and the draft where `placement` has them."""
        differs = self.head_on_gpu ^ placement.head_on_gpu
        differs |= self.draft_on_cpu ^ (placement.draft_device == "cpu")
        differs |= self.draft_on_gpu ^ (placement.draft_device == "gpu")
        return ~differs

    @property
    def num_gpu_layers(self) -> IntArray:
        """Layers in each window."""
        return self.end_layer - self.first_layer

    @property
    def uses_gpu(self) -> BoolArray:
        """Whether anything is on the GPU."""
        return (self.num_gpu_layers > 0) | self.head_on_gpu | self.draft_on_gpu

    def vram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> IntArray:
        """Bytes that the GPU's memory must have; 0 where the GPU is not used.

        Weights and KV cache of the layers, head, the workspace if there is any of them, weights, KV
        cache and workspace of the draft, and a margin.
        """
        layer_ends = _ends(parts.layer_bytes(context))
        any_part = (self.num_gpu_layers > 0) | self.head_on_gpu
        return (
            layer_ends[self.end_layer]
            - layer_ends[self.first_layer]
            + _bytes_where(self.head_on_gpu, parts.head_bytes)
            + _bytes_where(any_part, parts.workspace_bytes)
            + _bytes_where(self.draft_on_gpu, _draft_bytes(draft, context))
            + _bytes_where(self.uses_gpu, VRAM_MARGIN_BYTES)
        )

    def ram_bytes(self, parts: ModelParts, draft: ModelParts | None, context: int) -> IntArray:
        """Bytes in RAM: what is not on the GPU, and the target's workspace in any case."""
        layer_ends = _ends(parts.layer_bytes(context))
        all_layers_bytes = int(layer_ends[-1])
        return (
            _bytes_where(~self.head_on_gpu, parts.head_bytes)
            + _bytes_where(self.draft_on_cpu, _draft_bytes(draft, context))
            + (all_layers_bytes + parts.workspace_bytes)
            - (layer_ends[self.end_layer] - layer_ends[self.first_layer])
        )

    def layer_crossings(self, num_layers: int) -> IntArray:
        """How often a step's hidden states cross the link before and between the layers.

        The embedding is on the CPU, so they enter each window, and leave one that ends early.
        """
        leaves_early = self.end_layer < num_layers
        return np.where(self.num_gpu_layers > 0, 1 + leaves_early, 0)

    def head_crosses(self, num_layers: int) -> BoolArray:
        """Whether the head is not where the last layer is, so that its input crosses the link."""
        last_layer_on_gpu = (self.num_gpu_layers > 0) & (self.end_layer >= num_layers)
        return last_layer_on_gpu ^ self.head_on_gpu


def _ends(sizes: Sequence[int]) -> IntArray:
    """Sums of the first n sizes, for n from 0 to their number."""
    return np.cumsum([0, *sizes], dtype=np.int64)


def _draft_bytes(draft: ModelParts | None, context: int) -> int:
    return 0 if draft is None else draft.whole_bytes(context)


def _bytes_where(chosen: BoolArray, num_bytes: int) -> IntArray:
    return np.where(chosen, num_bytes, 0)
