"""What is done when a GPU has less memory than its share of a plan takes."""

import logging
import weakref
from types import ModuleType

from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES
from slipstream.offload.units import format_bytes
from slipstream.runtime.errors import MemoryBudgetError
from slipstream.runtime.planning.model_request import ModelRequest, Planned
from slipstream.runtime.planning.planner import plan_for

log = logging.getLogger(__name__)

_NEXT_SHARE = 0.8  # of what did not fit beside the margin


class VramShortageError(Exception):
    """The GPU has less memory left than a step will take."""


def device_errors(planned: Planned) -> tuple[type[Exception], ...]:
    """What loading ends with when the GPU's memory runs out."""
    if planned.gpu is None:
        return ()
    return (VramShortageError, planned.gpu.backend.ops.DeviceMemoryError)


class VramBudget:
    """Keeps a GPU's allocations to what was planned, until it is released or goes."""

    def __init__(self, ops: ModuleType, num_bytes: int) -> None:
        ops.limit_bytes(num_bytes)
        self._release = weakref.finalize(self, ops.release_bytes, num_bytes)
        self._release.atexit = False  # the memory goes with the process

    def release(self) -> None:
        """Safe to call twice."""
        self._release()


def limit_vram(planned: Planned) -> VramBudget | None:
    """The budget of a plan; None where it has nothing on a GPU."""
    made = planned.plan.placement
    if made is None or planned.gpu is None:
        return None
    return VramBudget(planned.gpu.backend.ops, made.chosen.vram_bytes)


def check_workspace(planned: Planned) -> None:
    """Raise VramShortageError unless the buffers of the largest step still fit beside the rest."""
    if planned.gpu is None:
        return
    free_bytes = planned.gpu.backend.ops.free_bytes()
    if free_bytes < planned.vram_workspace_bytes:
        raise VramShortageError(
            f"{format_bytes(free_bytes)} of VRAM are left, and steps take "
            f"{format_bytes(planned.vram_workspace_bytes)}"
        )


def smaller_plan(request: ModelRequest, planned: Planned, shortage: str) -> Planned:
    """The next plan to try, with less VRAM, which is said aloud.

    Raises MemoryBudgetError instead when the options are strict.
    """
    assert planned.plan.placement is not None
    taken_bytes = planned.plan.placement.chosen.vram_bytes
    if request.options.strict:
        raise MemoryBudgetError(
            f"The GPU's memory ran out while {format_bytes(taken_bytes)} were to be used: "
            f"{shortage}. Close what uses the rest, ask for less with vram_bytes, or leave out "
            "strict."
        )
    less_bytes = VRAM_MARGIN_BYTES + int(_NEXT_SHARE * (taken_bytes - VRAM_MARGIN_BYTES))
    log.warning(
        "The GPU's memory ran out while %s were to be used; planning with %s. (%s)",
        format_bytes(taken_bytes),
        format_bytes(less_bytes),
        shortage,
    )
    made = plan_for(request, vram_bytes=less_bytes)
    if made.gpu is None:
        log.warning("Nothing useful fits on the GPU any more: the CPU computes all of it.")
    return made
