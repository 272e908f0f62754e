"""Simulates a request on a machine, event by event, for what no sum of seconds can say.

What of it overlaps: a draft beside verification, copies beside computing. Costs come from the
machine's tables, one figure for each layer, as in APEX (arXiv:2411.17651); the times at which works
begin and end come from who waits for whom.
"""

from slipstream.offload.simulator.ranking import RankedPlacement, rank
from slipstream.offload.simulator.request import Request, SimulatedRequest, simulate_request
from slipstream.offload.simulator.streaming import staged_layers_bytes, streaming_crossover_rows
from slipstream.offload.simulator.timeline import Timeline

__all__ = [
    "RankedPlacement",
    "Request",
    "SimulatedRequest",
    "Timeline",
    "rank",
    "simulate_request",
    "staged_layers_bytes",
    "streaming_crossover_rows",
]
