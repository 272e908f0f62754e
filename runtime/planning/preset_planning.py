"""How a model would run on a machine that is not this one."""

from dataclasses import dataclass, replace

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.machine_presets import machine_preset
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.placement import Placement
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.placement.streaming_planner import plan_with_streaming
from slipstream.offload.simulator import (
    RankedPlacement,
    Request,
    rank,
)
from slipstream.runtime.errors import MemoryBudgetError, OptionError
from slipstream.runtime.planning.model_request import ModelRequest, choose_kv, requested_parts
from slipstream.runtime.speculation import MATCH

USUAL_CONTEXT = 4096  # tokens, where none is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetPlan:
    """A plan for a machine that is only imagined, and the usual request on it, simulated.

    ranked : the placement taken, the runner-up and the CPU alone, the fastest first
    """

    placement: PlacementPlan
    context: int
    request: Request
    ranked: tuple[RankedPlacement, ...]


def plan_on(request: ModelRequest, machine_name: str) -> PresetPlan:
    """The plan for the machine that is called so.

    Raises OptionError for a name or options that can't be, MemoryBudgetError when nothing fits.
    """
    try:
        machine = machine_preset(machine_name)
        return _plan_on(request, machine)
    except PlanOptionError as error:
        raise OptionError(str(error)) from error
    except PlanMemoryError as error:
        raise MemoryBudgetError(str(error)) from error


def _plan_on(request: ModelRequest, machine: MachineCosts) -> PresetPlan:
    asked = request.options
    _refuse_what_means_nothing(request)
    kv = str(choose_kv(request.file, request.config, asked).value)
    parts, draft = requested_parts(request, kv)
    context = asked.context or min(USUAL_CONTEXT, parts.trained_context)
    options = PlacementOptions(context=context, vram_bytes=asked.vram_bytes)
    made = plan_with_streaming(parts, draft, machine, options)
    expected = Request.expected(options)
    return PresetPlan(
        placement=made,
        context=context,
        request=expected,
        ranked=_ranked(made, parts, draft, machine, expected),
    )


def _refuse_what_means_nothing(request: ModelRequest) -> None:
    """Raise OptionError for options that a plan for another machine can't take into account."""
    asked = request.options
    given = {
        "threads": asked.threads is not None,
        "strict": asked.strict,
        "acceptance": asked.acceptance != MATCH,
    }
    for name in (name for name, is_given in given.items() if is_given):
        raise OptionError(
            f"{name}: {getattr(asked, name)!r} can't be planned for another machine; leave it out"
        )


def _ranked(
    made: PlacementPlan,
    parts: ModelParts,
    draft: ModelParts | None,
    machine: MachineCosts,
    expected: Request,
) -> tuple[RankedPlacement, ...]:
    """The plan, the runner-up, and everything on the CPU without a draft."""
    streamed = made.streaming is not None and expected.prompt_tokens >= made.streaming.least_rows
    planned = rank(
        [made.placement], parts, draft, machine, replace(expected, streams_weights=streamed)
    )
    placements = [] if made.runner_up is None else [made.runner_up.placement]
    placements.append(Placement.window(made.num_layers))
    others = [each for each in dict.fromkeys(placements) if each != made.placement]
    ranked = [*planned, *rank(others, parts, draft, machine, expected)]
    return tuple(sorted(ranked, key=lambda each: each.simulated.request_s))
