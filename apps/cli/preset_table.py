"""The plan for an imagined machine, as lines for people."""

from slipstream.offload.placement.placement import Placement
from slipstream.offload.simulator import RankedPlacement
from slipstream.offload.table import aligned
from slipstream.offload.units import format_bytes
from slipstream.runtime.planning.preset_planning import PresetPlan


def preset_lines(made: PresetPlan) -> list[str]:
    """Where everything lies, and the usual request simulated."""
    return [
        f"With room for {made.context:,} tokens:",
        *str(made.placement).splitlines(),
        "",
        f"A request of {made.request.prompt_tokens} tokens with an answer of "
        f"{made.request.answer_tokens}, simulated:",
        *aligned([_HEADER, *(_row(each, made) for each in made.ranked)]),
    ]


_HEADER = ("", "prompt", "answer", "CPU busy", "GPU busy", "link bytes a token")


def _row(each: RankedPlacement, made: PresetPlan) -> tuple[str, ...]:
    simulated, busy = each.simulated, each.simulated.busy_shares
    return (
        _name(each.placement, made),
        f"{simulated.prefill_s:.2f} s",
        f"{1 / simulated.s_per_token:.1f} tok/s",
        f"{busy['cpu']:.0%}",
        f"{busy['gpu']:.0%}",
        format_bytes(simulated.link_bytes_per_token),
    )


def _name(placement: Placement, made: PresetPlan) -> str:
    if placement == made.placement.placement:
        return "plan"
    runner_up = made.placement.runner_up
    if runner_up is not None and placement == runner_up.placement:
        return "runner-up"
    return "CPU alone, no draft"
