"""Whether a draft goes on while the target computes."""

from slipstream.offload.plan import Decision
from slipstream.runtime.backends import Backend
from slipstream.runtime.models import Devices
from slipstream.runtime.options import Options
from slipstream.runtime.speculation import MATCH, OFF

DOVETAIL_TAKES_TURNS = Decision(
    what="overlap",
    value=OFF,
    why="the draft continues what the target's step brings, so they take turns",
)


def overlaps(devices: Devices, draft: Backend, acceptance: str) -> bool:
    """Whether a draft model goes on drafting while the target computes on another device.

    Not on a CPU that has a part of the target, which keeps it for the whole step. Not for tokens
    that the draft draws: which of them are used must not depend on who is faster.
    """
    return acceptance == MATCH and _has_time(devices, draft)


def _has_time(devices: Devices, draft: Backend) -> bool:
    """Whether the draft's device is free while the target computes, or for a part of that time."""
    shares_cpu = any(
        each.device == draft.device and each.ops.IN_HOST_MEMORY for each in devices.backends
    )
    return not shares_cpu and any(each.device != draft.device for each in devices.backends)


def overlap_decision(devices: Devices, draft: Backend, options: Options) -> Decision:
    """Whether a draft model goes on meanwhile, and why."""
    if overlaps(devices, draft, options.acceptance):
        others = {each.device for each in devices.backends} - {draft.device}
        why = f"the draft goes on on {draft.device} while {' and '.join(sorted(others))} verifies"
        return Decision(what="overlap", value="on", why=why)
    why = f"draft and target share {draft.device}, so they take turns"
    if _has_time(devices, draft):
        why = f"acceptance {options.acceptance} lets the draft draw tokens, one place at a time"
    return Decision(what="overlap", value=OFF, why=why)
