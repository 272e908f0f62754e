"""What a model file asks of this machine, put before the planner."""

from collections.abc import Sequence
from dataclasses import replace

from slipstream.offload.bandwidth import measured_read_bandwidth
from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.machine import default_threads, probe
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.plan import Decision, Footprint
from slipstream.offload.profile.gpu_access import NoGpuError
from slipstream.offload.profile.profiling import Progress
from slipstream.runtime.errors import MemoryBudgetError, OptionError
from slipstream.runtime.planning.gpu import Gpu, find_gpu
from slipstream.runtime.planning.model_request import (
    ModelRequest,
    Planned,
    choose_kv,
    requested_parts,
)
from slipstream.runtime.planning.placing import place
from slipstream.runtime.planning.ram_planning import RamPlanner


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
    parts, draft = requested_parts(request, str(kv.value))
    in_ram = RamPlanner(request, machine, kv, Footprint.of(parts, draft))
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
    streams = request.backend.ops.IN_PANELS  # which the GPU's kernels can read
    *others, least = contexts
    for context in others:
        try:
            return context, place(parts, draft, context, gpu, vram_bytes, streams=streams)
        except PlanMemoryError:
            continue
    return least, place(parts, draft, least, gpu, vram_bytes, streams=streams)


def _quant_types(request: ModelRequest) -> tuple[str, ...]:
    """Of the matrices of the model and its draft, each once."""
    choice = request.draft
    files = [file for file in (request.file, choice.file, choice.trained) if file is not None]
    matrices = (each for file in files for each in file.tensors.values() if len(each.shape) == 2)
    return tuple(dict.fromkeys(each.quant_type.name for each in matrices))
