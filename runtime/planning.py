"""What a model file asks of this machine, put before the planner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slipstream.cpu_kernels import KV_BLOCK_DIMENSIONS
from slipstream.offload.bandwidth import measured_read_bandwidth
from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.machine import Machine, default_threads, probe
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement_plan import PlacementPlan
from slipstream.offload.plan import Decision, Footprint, Plan
from slipstream.offload.planner import MAX_SEQUENCES, SMALLEST_CONTEXT, plan_cpu
from slipstream.offload.profile.profiling import Progress
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.draft_choice import DraftChoice
from slipstream.runtime.errors import MemoryBudgetError, OptionError
from slipstream.runtime.footprints import footprint_of
from slipstream.runtime.gpu import Gpu, NoGpuError, find_gpu
from slipstream.runtime.model_parts import parts_of, trained_parts
from slipstream.runtime.models import Devices, ModelConfig
from slipstream.runtime.options import DEFAULT_KV, KV_DTYPES, Options
from slipstream.runtime.placing import devices_of, left_in_ram, place, vram_workspace_bytes
from slipstream.runtime.speculation import DRAFT_KV, MATCH, OFF

# A draft gives logits of the first tokens of its vocabulary only. Merges are ordered by how often
# they were seen, so these are 97 to 99 % of English and code, for half the head's bytes.
DRAFT_HEAD_ROWS = 1 << 16

_LESS_AND_LESS = (4096, 2048, 1024, 512, SMALLEST_CONTEXT)  # tokens of context

_WITH_TRAINED = Decision(
    what="overlap",
    value=OFF,
    why="the draft continues what the target's step brings, so they take turns",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A model to be run.

    backend, draft_backend : of what a GPU does not have
    """

    file: ModelFile
    config: ModelConfig
    options: Options
    backend: Backend
    draft: DraftChoice
    draft_backend: Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and what carries it out.

    gpu : where it has a part, and the bytes of its VRAM that steps take beside weights and cache
    """

    plan: Plan
    devices: Devices
    draft_backend: Backend
    gpu: Gpu | None = None
    vram_workspace_bytes: int = 0

    @property
    def backends(self) -> frozenset[Backend]:
        """All that compute something."""
        gpu = () if self.gpu is None else (self.gpu.backend,)
        return frozenset((*self.devices.backends, self.draft_backend, *gpu))


def plan_for(
    request: ModelRequest, *, vram_bytes: int | None = None, progress: Progress | None = None
) -> Planned:
    """How the model, and the one that drafts for it, are run here.

    vram_bytes : at most, where less is to be had than the options allow
    progress   : of measuring what the GPU takes, where that is not known yet
    Raises OptionError, and MemoryBudgetError before anything is loaded that would not fit.
    """
    try:
        return _planned(request, vram_bytes, progress)
    except PlanOptionError as error:
        raise OptionError(str(error)) from error
    except PlanMemoryError as error:
        raise MemoryBudgetError(str(error)) from error


def _planned(request: ModelRequest, vram_bytes: int | None, progress: Progress | None) -> Planned:
    machine = probe()
    threads = request.options.threads or default_threads(machine)
    machine = replace(machine, read_gb_per_s=measured_read_bandwidth(threads, machine=machine))
    kv = choose_kv(request.file, request.config, request.options)
    parts, draft = model_parts(request, str(kv.value))
    in_ram = _InRam(request, machine, kv, footprint_of(parts, draft))
    options, plans_anew = request.options, vram_bytes is not None
    types = _quant_types(request)
    try:
        gpu = find_gpu(options, machine, threads, types, progress, may_have_less=plans_anew)
    except NoGpuError as error:
        return in_ram.planned(Decision(what="GPU", value="none", why=str(error)))
    limits = (gpu.costs.vram_bytes, options.vram_bytes, vram_bytes)
    limit = min(each for each in limits if each is not None)
    context, made = _placed(request, parts, draft, in_ram.contexts(), gpu, limit)
    if made.uses_gpu:
        return in_ram.planned_beside(gpu, made, parts, draft, context)
    why = " ".join(made.why)
    if options.vram_bytes and not plans_anew:
        raise OptionError(f"vram_bytes: {why} Leave vram_bytes out, or give more.")
    return in_ram.planned(Decision(what="GPU", value="none", why=why))


def _placed(
    request: ModelRequest,
    parts: ModelParts,
    draft: ModelParts | None,
    contexts: Sequence[int],
    gpu: Gpu,
    vram_bytes: int,
) -> tuple[int, PlacementPlan]:
    """The first of the contexts that fits, and where everything lies with it."""
    streams = request.backend.name == "numba"  # whose panels the GPU's kernels can read
    for context in contexts:
        try:
            return context, place(parts, draft, context, gpu, vram_bytes, streams=streams)
        except PlanMemoryError:
            if context == contexts[-1]:
                raise
    raise AssertionError("there is always a context to try")


def _quant_types(request: ModelRequest) -> tuple[str, ...]:
    """Of the matrices of the model and its draft, each once."""
    choice = request.draft
    files = [file for file in (request.file, choice.file, choice.trained) if file is not None]
    matrices = (each for file in files for each in file.tensors.values() if len(each.shape) == 2)
    return tuple(dict.fromkeys(each.quant_type.name for each in matrices))


def model_parts(request: ModelRequest, kv: str) -> tuple[ModelParts, ModelParts | None]:
    """The parts of the model and of the one that drafts for it, if one does."""
    parts = parts_of(request.file, request.config, request.backend, KV_DTYPES[kv])
    draft, backend = request.draft, request.draft_backend
    if draft.trained is not None:
        return parts, trained_parts(draft.trained, request.file, backend)
    if draft.file is None or draft.config is None:
        return parts, None
    return parts, parts_of(draft.file, draft.config, backend, DRAFT_KV, DRAFT_HEAD_ROWS)


class _InRam:
    """Plans what of a model is in RAM: all of it, or what a GPU leaves."""

    def __init__(
        self, request: ModelRequest, machine: Machine, kv: Decision, footprint: Footprint
    ) -> None:
        self._request = request
        self._machine = machine
        self._kv = kv
        self._footprint = footprint

    def contexts(self) -> Sequence[int]:
        """Tokens to plan a GPU's share for, the first that fits of these.

        Those asked for, or that RAM alone has room for. Where it has none: a usual number, and less
        each time.
        """
        request = self._request
        if request.options.context is not None:
            return (request.options.context,)
        try:
            return (self._plan(self._footprint, request.backend, request.draft_backend).context,)
        except PlanMemoryError:
            most = request.config.context_length
            return sorted({min(each, most) for each in _LESS_AND_LESS}, reverse=True)

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
        if request.options.context is None:
            plan = replace(plan, decisions=tuple(map(_of_ram_alone, plan.decisions)))
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
            speculation = (*speculation, _overlap(devices, draft_backend, options))
        if request.draft.trained is not None:
            speculation = (*speculation, _WITH_TRAINED)
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


def _of_ram_alone(decision: Decision) -> Decision:
    """The context was found before anything was placed."""
    if decision.what != "context":
        return decision
    return replace(
        decision,
        why="found before anything was placed: what RAM alone has room for, "
        "or the largest of a few that fits beside the GPU",
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


def _overlap(devices: Devices, draft: Backend, options: Options) -> Decision:
    if overlaps(devices, draft, options.acceptance):
        others = {each.device for each in devices.backends} - {draft.device}
        why = f"the draft goes on on {draft.device} while {' and '.join(sorted(others))} verifies"
        return Decision(what="overlap", value="on", why=why)
    why = f"draft and target share {draft.device}, so they take turns"
    if _has_time(devices, draft):
        why = f"acceptance {options.acceptance} lets the draft draw tokens, one place at a time"
    return Decision(what="overlap", value=OFF, why=why)


def choose_kv(file: ModelFile, config: ModelConfig, options: Options) -> Decision:
    """How keys and values are stored. Raises OptionError where the model can't have it so."""
    if options.kv == "auto":
        return Decision(what="kv", value=DEFAULT_KV, why="the default; q8_0 takes half the memory")
    if KV_DTYPES[options.kv] != "float16" and config.head_size % KV_BLOCK_DIMENSIONS:
        raise OptionError(
            f"kv: {options.kv} needs heads of a multiple of {KV_BLOCK_DIMENSIONS} dimensions, "
            f"{config.name} has {config.head_size}; use f16"
        )
    if KV_DTYPES[options.kv] == "int4" and "blk.0.attn_k.bias" in file.tensors:
        # They are up to 20 times what keys differ by: with Qwen2.5 1.5B the text is noise.
        raise OptionError(
            f"kv: {options.kv} can't hold the keys of {config.name}, to which the model adds large "
            "biases; use q8_0"
        )
    return Decision(what="kv", value=options.kv, why="asked for")
