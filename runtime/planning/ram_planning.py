"""Plans what of a model is in RAM: all of it, or what a GPU leaves."""

from collections.abc import Sequence
from dataclasses import replace

from slipstream.offload.errors import PlanMemoryError
from slipstream.offload.machine import Machine
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.plan import Decision, Footprint, Plan
from slipstream.offload.planner import MAX_SEQUENCES, SMALLEST_CONTEXT, plan_cpu
from slipstream.runtime.backends import Backend
from slipstream.runtime.models import Devices
from slipstream.runtime.planning.gpu import Gpu
from slipstream.runtime.planning.model_request import ModelRequest, Planned
from slipstream.runtime.planning.overlap import DOVETAIL_TAKES_TURNS, overlap_decision
from slipstream.runtime.planning.placing import devices_of, left_in_ram, vram_workspace_bytes

_FALLBACK_CONTEXTS = (4096, 2048, 1024, 512, SMALLEST_CONTEXT)  # tokens of context


class RamPlanner:
    """Plans what of a model is in RAM: all of it, or what a GPU leaves."""

    def __init__(
        self, request: ModelRequest, machine: Machine, kv: Decision, footprint: Footprint
    ) -> None:
        self._request = request
        self._machine = machine
        self._kv = kv
        self._footprint = footprint
        self._why_context: str | None = None  # where it was not asked for

    def contexts(self) -> Sequence[int]:
        """Tokens to plan a GPU's share for, the first that fits of these.

        Those asked for, or that RAM alone has room for. Where it has none: a usual number, and less
        each time.
        """
        request = self._request
        if request.options.context is not None:
            return (request.options.context,)
        try:
            plan = self._plan(self._footprint, request.backend, request.draft_backend)
        except PlanMemoryError:
            self._why_context = "the largest of a few that fits: RAM alone has no room for any"
            most = request.config.context_length
            return sorted({min(each, most) for each in _FALLBACK_CONTEXTS}, reverse=True)
        self._why_context = "what RAM alone would have room for"
        return (plan.context,)

    def planned(self, gpu: Decision) -> Planned:
        """Without a GPU."""
        request = self._request
        devices, draft_backend = request.backend, request.draft_backend
        plan = self._plan(self._footprint, devices, draft_backend, gpu)
        return Planned(plan=plan, devices=devices, draft_backend=draft_backend)

    def planned_beside(
        self,
        gpu: Gpu,
        made: PlacementPlan,
        parts: ModelParts,
        draft: ModelParts | None,
        context: int,
    ) -> Planned:
        """With what a placement gives to a GPU."""
        request, placement = self._request, made.placement
        draft_backend = request.draft_backend
        if placement.draft_device == "gpu":
            draft_backend = gpu.backend
        devices = devices_of(placement, request.backend, gpu.backend)
        plan = self._plan(
            left_in_ram(self._footprint, parts, placement),
            devices,
            draft_backend,
            Decision(what="GPU", value=gpu.name, why=f"{gpu.backend.name} kernels; see below"),
            context=context,
            max_sequences=1 if placement.num_gpu_layers or made.streaming else MAX_SEQUENCES,
        )
        if self._why_context is not None:
            decisions = (
                replace(each, why=self._why_context) if each.what == "context" else each
                for each in plan.decisions
            )
            plan = replace(plan, decisions=tuple(decisions))
        return Planned(
            plan=replace(plan, placement=made),
            devices=devices,
            draft_backend=draft_backend,
            gpu=gpu,
            vram_workspace_bytes=vram_workspace_bytes(parts, draft, made, context),
        )

    def _plan(
        self,
        footprint: Footprint,
        devices: Devices,
        draft_backend: Backend,
        *gpu: Decision,
        context: int | None = None,
        max_sequences: int = MAX_SEQUENCES,
    ) -> Plan:
        request, options = self._request, self._request.options
        backend, speculation = request.backend, request.draft.decisions
        if request.draft.file is not None:
            speculation = (*speculation, overlap_decision(devices, draft_backend, options))
        if request.draft.trained is not None:
            speculation = (*speculation, DOVETAIL_TAKES_TURNS)
        return plan_cpu(
            footprint,
            self._machine,
            threads=options.threads,
            context=context or options.context,
            backend=Decision(what="backend", value=backend.name, why=backend.reason),
            kv=self._kv,
            speculation=(*gpu, *speculation),
            max_sequences=max_sequences,
        )
