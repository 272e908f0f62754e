"""Decides what of a model lives in a GPU's memory, by comparing placements on predicted times.

Of the sets of layers those are compared that are worth having (`layer_sets.py`), with the head and
the draft on either device.
"""

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.candidates import PlacementTask
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.placement.reasons import benefits, empty_reason
from slipstream.offload.units import format_bytes

__all__ = ["PlacementOptions", "plan_placement"]


def plan_placement(
    parts: ModelParts, draft: ModelParts | None, machine: MachineCosts, options: PlacementOptions
) -> PlacementPlan:
    """The placement that does the expected prompt and answer in the least predicted time.

    A pure function. Neither the VRAM limit nor `machine.ram_bytes` is ever exceeded. A draft is
    used where it makes decoding faster, or always if the options say so. Raises PlanOptionError
    for options that the model or the machine rules out, PlanMemoryError when no placement fits.
    """
    _check_context(parts, options)
    vram_limit_bytes = _vram_limit_bytes(machine, options)
    task = PlacementTask(
        parts=parts,
        draft=draft,
        machine=machine,
        options=options,
        vram_limit_bytes=vram_limit_bytes,
    )
    candidates = task.predict(task.with_each_head_and_draft(task.sets_worth_having()))
    allowed = candidates.vram_bytes <= vram_limit_bytes
    if draft is not None and options.keeps_draft:
        allowed &= candidates.placements.draft_on_cpu | candidates.placements.draft_on_gpu
    fits = allowed & (candidates.ram_bytes <= machine.ram_bytes)
    if not fits.any():
        raise PlanMemoryError(_shortage(task, int(candidates.ram_bytes[allowed].min())))
    chosen = candidates[candidates.fastest(fits)]
    others = fits & ~candidates.placements.same_head_and_draft(chosen.placement)
    uses_gpu = chosen.placement.uses_gpu
    return PlacementPlan(
        chosen=chosen,
        runner_up=candidates[candidates.fastest(others)] if others.any() else None,
        num_layers=len(parts.layers),
        vram_limit_bytes=vram_limit_bytes,
        ram_limit_bytes=machine.ram_bytes,
        why=benefits(task, chosen) if uses_gpu else (empty_reason(task, candidates, chosen, fits),),
    )


def _check_context(parts: ModelParts, options: PlacementOptions) -> None:
    if options.context > parts.trained_context:
        raise PlanOptionError(
            f"context must be between 1 and {parts.trained_context:,} tokens, for which the model "
            f"was trained; got {options.context:,}."
        )


def _vram_limit_bytes(machine: MachineCosts, options: PlacementOptions) -> int:
    """Bytes of VRAM that a plan may take: those asked for, or all."""
    if options.vram_bytes is None:
        return machine.vram_bytes
    if 0 <= options.vram_bytes <= machine.vram_bytes:
        return options.vram_bytes
    if machine.gpu is None:
        raise PlanOptionError(
            f"vram_bytes must be 0 or left out on a machine without a GPU; got "
            f"{options.vram_bytes:,}."
        )
    raise PlanOptionError(
        f"vram_bytes must be between 0 and {machine.vram_bytes:,}, the memory of the GPU; got "
        f"{options.vram_bytes:,}."
    )


def _shortage(task: PlacementTask, least_bytes: int) -> str:
    vram_bytes = task.vram_limit_bytes
    beside = f" beside {format_bytes(vram_bytes)} of VRAM" if vram_bytes else ""
    return (
        f"The model with a context of {task.options.context:,} tokens does not fit in memory: it "
        f"needs at least {format_bytes(least_bytes)} of RAM{beside}, but only "
        f"{format_bytes(task.machine.ram_bytes)} can be used. Ask for a shorter context, close "
        f"other programs, or use a smaller model or quantisation."
    )
