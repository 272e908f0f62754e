"""Puts a model and its draft before the planner of placements, and gives its answer devices."""

from dataclasses import replace

from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.placement import Placement
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.placement.planner import plan_placement
from slipstream.offload.placement.streaming_planner import plan_with_streaming
from slipstream.offload.plan import Footprint
from slipstream.offload.simulator.streaming import unpacked_bytes
from slipstream.runtime.backends import Backend
from slipstream.runtime.models import Devices, LayerDevices
from slipstream.runtime.planning.gpu import Gpu


def place(
    parts: ModelParts,
    draft: ModelParts | None,
    context: int,
    gpu: Gpu,
    vram_bytes: int,
    *,
    streams: bool,
) -> PlacementPlan:
    """Where the layers, the head and the draft go, with so much VRAM at most.

    streams : whether layers in RAM are held so that they can be streamed to the GPU

    A draft that was asked for is kept: whether it pays is found out while it is used, and it rests
    where it does not. Raises PlanError as `plan_with_streaming` does.
    """
    asked = PlacementOptions(context=context, vram_bytes=vram_bytes, keeps_draft=True)
    plan = plan_with_streaming if streams else plan_placement
    return plan(parts, draft, gpu.costs, asked)


def devices_of(placement: Placement, cpu: Backend, gpu: Backend) -> Devices:
    """The devices of a model's layers and head."""
    return LayerDevices(
        layers=tuple(gpu if on_gpu else cpu for on_gpu in placement.layers_on_gpu),
        head=gpu if placement.head_on_gpu else cpu,
    )


def left_in_ram(footprint: Footprint, parts: ModelParts, placement: Placement) -> Footprint:
    """What of a model's footprint a placement leaves to the CPU."""
    moved = [
        layer for layer, on_gpu in zip(parts.layers, placement.layers_on_gpu, strict=True) if on_gpu
    ]
    weights_bytes = sum(layer.weight_bytes for layer in moved)
    weights_bytes += parts.head_bytes if placement.head_on_gpu else 0
    return replace(
        footprint,
        weights_bytes=footprint.weights_bytes - weights_bytes,
        read_bytes_per_token=footprint.read_bytes_per_token - weights_bytes,
        kv_bytes_per_token=footprint.kv_bytes_per_token
        - sum(layer.kv_bytes_per_token for layer in moved),
        draft=None if placement.draft_device == "gpu" else footprint.draft,
    )


def vram_workspace_bytes(
    parts: ModelParts, draft: ModelParts | None, made: PlacementPlan, context: int
) -> int:
    """Bytes of VRAM that the largest steps of the model and its draft take beside the rest."""
    num_bytes, placement = 0, made.placement
    if placement.has_target_part or made.streaming is not None:
        num_bytes += parts.gpu_workspace_bytes(context)
    if made.streaming is not None:
        num_bytes += unpacked_bytes(parts, placement)
    if draft is not None and placement.draft_device == "gpu":
        num_bytes += draft.gpu_workspace_bytes(context)
    return num_bytes
