"""Placements in the order of the time that a request takes under each."""

from collections.abc import Iterable
from dataclasses import dataclass

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.placement import Placement
from slipstream.offload.simulator.request import Request, SimulatedRequest, simulate_request


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedPlacement:
    """A placement and the request under it."""

    placement: Placement
    simulated: SimulatedRequest


def rank(
    placements: Iterable[Placement],
    parts: ModelParts,
    draft: ModelParts | None,
    machine: MachineCosts,
    request: Request,
) -> list[RankedPlacement]:
    """These placements, that with the fastest request first; equally fast ones keep their order.

    Memory is not looked at: placements are to come from a planner that has seen to it.
    """
    ranked = [
        RankedPlacement(
            placement=placement,
            simulated=simulate_request(parts, draft, machine, placement, request),
        )
        for placement in placements
    ]
    return sorted(ranked, key=lambda each: each.simulated.request_s)
