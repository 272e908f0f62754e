"""Why a placement was chosen, in sentences: what things on the GPU save, or why it is empty."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from slipstream.offload.placement.candidates import Candidates, PlacementTask
from slipstream.offload.placement.placement import BoolArray, Device, Placement, Placements
from slipstream.offload.placement.plan import PlacedModel
from slipstream.offload.units import format_bytes


def benefits(task: PlacementTask, chosen: PlacedModel) -> tuple[str, ...]:
    """A sentence for each thing on the GPU, that with the largest benefit per byte first.

    The benefit is what the expected request would take longer without it there, shared among the
    tokens of the answer.
    """
    things = list(_placed(chosen.placement, task))
    others = [other for _, _, without in things for other in without]
    seconds = iter(task.predict(Placements.of(others)).workload_s.tolist())
    rated = []
    for what, num_bytes, without in things:
        saved_s = min(next(seconds) for _ in without) - chosen.workload_s
        saved_ms = 1e3 * saved_s / task.options.answer_tokens
        ms_per_gb = saved_ms / (max(num_bytes, 1) / 1e9)
        sentence = f"{what} on the GPU ({format_bytes(num_bytes)}): "
        if saved_s >= 0:
            sentence += f"saves {saved_ms:.2f} ms a token, {ms_per_gb:.2f} ms for each GB."
        else:  # the placements without it would be faster, so they were ruled out
            sentence += "there because the RAM has no room, not for speed."
        rated.append((ms_per_gb, sentence))
    return tuple(sentence for _, sentence in sorted(rated, reverse=True))


def _placed(here: Placement, task: PlacementTask) -> Iterator[tuple[str, int, list[Placement]]]:
    """Each thing on the GPU with its name, its bytes and the placements that do without it."""
    context = task.options.context
    if task.draft is not None and here.draft_device == "gpu":
        devices: tuple[Device | None, ...] = ("cpu",) if task.options.keeps_draft else ("cpu", None)
        without = [replace(here, draft_device=device) for device in devices]
        yield "The draft", task.draft.whole_bytes(context, on_gpu=True), without
    if here.head_on_gpu:
        yield "The head", task.parts.head_bytes, [replace(here, head_on_gpu=False)]
    if here.num_gpu_layers:
        sizes = zip(task.parts.layer_bytes(context), here.layers_on_gpu, strict=True)
        num_bytes = sum(size for size, on_gpu in sizes if on_gpu)
        name = "The layer" if here.num_gpu_layers == 1 else f"The {here.num_gpu_layers} layers"
        none = (False,) * len(here.layers_on_gpu)
        yield name, num_bytes, [replace(here, layers_on_gpu=none)]


def empty_reason(
    task: PlacementTask, candidates: Candidates, chosen: PlacedModel, fits: BoolArray
) -> str:
    """Why nothing is on the GPU, in one sentence."""
    if task.machine.gpu is None:
        return "All of it is on the CPU: there is no GPU to use."
    smallest_bytes = _smallest_use_bytes(task)
    if smallest_bytes > task.vram_limit_bytes:
        return (
            f"The GPU stays empty: its smallest use takes {format_bytes(smallest_bytes)} with the "
            f"margin, and the VRAM limit is {format_bytes(task.vram_limit_bytes)}."
        )
    fastest = candidates[candidates.fastest(fits & candidates.placements.uses_gpu)]
    longer = fastest.workload_s / chosen.workload_s - 1
    return f"The GPU stays empty: the best use of it that fits would take {longer:.1%} longer."


def _smallest_use_bytes(task: PlacementTask) -> int:
    """VRAM that the GPU must have for one layer, the head or the draft, whichever is the least."""
    num_layers = len(task.parts.layers)
    placements = task.with_each_head_and_draft(np.eye(num_layers + 1, num_layers, dtype=np.bool_))
    vram_bytes = placements.vram_bytes(task.parts, task.draft, task.options.context)
    return int(vram_bytes[placements.uses_gpu].min())
