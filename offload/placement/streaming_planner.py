"""Decides whether VRAM is kept for streaming layers to the GPU, or given to more of them."""

from dataclasses import replace

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.errors import PlanMemoryError
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.placement import Placement
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.placement.planner import plan_placement
from slipstream.offload.placement.streaming_plan import plan_streaming
from slipstream.offload.simulator import staged_layers_bytes
from slipstream.offload.step_times import PREFILL_TOKENS


def plan_with_streaming(
    parts: ModelParts, draft: ModelParts | None, machine: MachineCosts, options: PlacementOptions
) -> PlacementPlan:
    """As `plan_placement`, with layers in RAM streamed for prompts where the request gains by it.

    Streaming takes what VRAM the best placement leaves, or else the best placement beside it is
    compared with that without it. Raises as `plan_placement` does.
    """
    made = plan_placement(parts, draft, machine, options)
    if machine.gpu is None:
        return made
    return (
        _with_streaming(made, parts, machine, options)
        or _beside_streaming(made, parts, draft, machine, options)
        or made
    )


def _with_streaming(
    made: PlacementPlan, parts: ModelParts, machine: MachineCosts, options: PlacementOptions
) -> PlacementPlan | None:
    """The plan with streaming, where there is room for it and the usual request gains by it."""
    streaming = plan_streaming(parts, machine, made.placement, options.context)
    if streaming is None:
        return None
    saved_s = streaming.saved_s(min(options.prompt_tokens, options.context))
    if saved_s <= 0:
        return None
    chosen = made.chosen
    vram_bytes = chosen.vram_bytes + streaming.vram_bytes
    if vram_bytes > made.vram_limit_bytes:
        return None
    return replace(
        made,
        chosen=replace(
            chosen,
            vram_bytes=vram_bytes,
            prefill_s=chosen.prefill_s - streaming.saved_s(PREFILL_TOKENS),
            workload_s=chosen.workload_s - saved_s,
        ),
        streaming=streaming,
        why=made.why if made.placement.uses_gpu else (),  # which say why the GPU stays empty
    )


def _beside_streaming(
    made: PlacementPlan,
    parts: ModelParts,
    draft: ModelParts | None,
    machine: MachineCosts,
    options: PlacementOptions,
) -> PlacementPlan | None:
    """The best plan that leaves room for streaming, where that is the faster one."""
    nothing_there = Placement.window(len(parts.layers))
    staged = staged_layers_bytes(parts, nothing_there, options.context)
    # The second where nothing else on the GPU brings a workspace.
    for kept_bytes in (staged, staged + parts.gpu_workspace_bytes(options.context)):
        left_bytes = made.vram_limit_bytes - kept_bytes
        if left_bytes < 0:
            return None
        try:
            smaller = plan_placement(parts, draft, machine, replace(options, vram_bytes=left_bytes))
        except PlanMemoryError:
            return None
        within = replace(smaller, vram_limit_bytes=made.vram_limit_bytes)
        planned = _with_streaming(within, parts, machine, options)
        if planned is not None:
            return planned if planned.chosen.workload_s < made.chosen.workload_s else None
    return None
