"""Decides what of a model lives in a GPU's memory, by trying every placement on predicted times.

The space is small enough for that: each window of layers, with the head and the draft on either
device. Layers of one size make a window as good as any set of as many layers; where sizes differ, a
scattered set may fit one layer more, at two more crossings of the link, and is not looked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement import BoolArray, IntArray, Placement, Placements
from slipstream.offload.placement_plan import PlacedModel, PlacementPlan
from slipstream.offload.step_times import PREFILL_TOKENS, FloatArray, StepTimes
from slipstream.offload.units import format_bytes

SAME_SHARE = 1e-9  # of the predicted time: less than that apart, two placements are as fast


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementOptions:
    """What is asked of a plan. Raises PlanOptionError for numbers that no machine could meet.

    `prompt_tokens` and `answer_tokens` say what a usual request is, for weighing prefill against
    decode; `draft_acceptance` is the chance that the target agrees with one drafted token.
    """

    context: int  # tokens that the KV cache has room for
    vram_bytes: int | None = None  # at most; None is all that the GPU has
    prompt_tokens: int = 512
    answer_tokens: int = 256
    draft_acceptance: float = 0.6
    draft_depth: int = 4  # tokens drafted in a round

    def __post_init__(self) -> None:
        for name, value, least in (
            ("context", self.context, 1),
            ("prompt_tokens", self.prompt_tokens, 0),
            ("answer_tokens", self.answer_tokens, 1),
            ("draft_depth", self.draft_depth, 1),
        ):
            if value < least:
                raise PlanOptionError(f"{name} must be at least {least}; got {value:,}.")
        if not 0 <= self.draft_acceptance <= 1:
            raise PlanOptionError(
                f"draft_acceptance must be between 0 and 1; got {self.draft_acceptance}."
            )

    @property
    def held_tokens(self) -> int:
        """Tokens in the cache halfway through the answer."""
        return min(self.context, self.prompt_tokens + self.answer_tokens // 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Candidates:
    """Every placement with its bytes and predicted times, arrays of shape (N,)."""

    placements: Placements
    vram_bytes: IntArray
    ram_bytes: IntArray
    prefill_s: FloatArray
    decode_s: FloatArray
    s_per_token: FloatArray
    workload_s: FloatArray

    def __getitem__(self, index: int) -> PlacedModel:
        return PlacedModel(
            placement=self.placements[index],
            vram_bytes=int(self.vram_bytes[index]),
            ram_bytes=int(self.ram_bytes[index]),
            prefill_s=float(self.prefill_s[index]),
            decode_s=float(self.decode_s[index]),
            s_per_token=float(self.s_per_token[index]),
            workload_s=float(self.workload_s[index]),
        )

    def fastest(self, allowed: BoolArray) -> int:
        """Index of the fastest of those allowed; of equally fast ones, of that with least VRAM."""
        seconds = np.where(allowed, self.workload_s, np.inf)
        equals = np.flatnonzero(seconds <= seconds.min() * (1 + SAME_SHARE))
        return int(equals[self.vram_bytes[equals].argmin()])


def plan_placement(
    parts: ModelParts, draft: ModelParts | None, machine: MachineCosts, options: PlacementOptions
) -> PlacementPlan:
    """The placement that does the expected prompt and answer in the least predicted time.

    A pure function. Neither the VRAM limit nor `machine.ram_bytes` is ever exceeded. A draft is
    used only where it makes decoding faster. Raises PlanOptionError for options that the model or
    the machine rules out, PlanMemoryError when no placement fits.
    """
    _check_context(parts, options)
    vram_limit_bytes = _vram_limit_bytes(machine, options)
    candidates = _candidates(parts, draft, machine, options)
    in_vram = candidates.vram_bytes <= vram_limit_bytes
    fits = in_vram & (candidates.ram_bytes <= machine.ram_bytes)
    if not fits.any():
        least_bytes = int(candidates.ram_bytes[in_vram].min())
        raise PlanMemoryError(_shortage(machine, options, vram_limit_bytes, least_bytes))
    best = candidates.fastest(fits)
    chosen = candidates[best]
    others = fits & ~candidates.placements.same_head_and_draft(chosen.placement)
    if chosen.placement.uses_gpu:
        why = _benefits(candidates, chosen, parts, draft, options)
    else:
        why = (_empty_reason(candidates, chosen, fits, machine, vram_limit_bytes),)
    return PlacementPlan(
        chosen=chosen,
        runner_up=candidates[candidates.fastest(others)] if others.any() else None,
        num_layers=len(parts.layers),
        vram_limit_bytes=vram_limit_bytes,
        ram_limit_bytes=machine.ram_bytes,
        why=why,
    )


def _candidates(
    parts: ModelParts, draft: ModelParts | None, machine: MachineCosts, options: PlacementOptions
) -> _Candidates:
    placements = Placements.every(
        len(parts.layers), has_gpu=machine.gpu is not None, has_draft=draft is not None
    )
    times = StepTimes(
        parts=parts,
        draft=draft,
        machine=machine,
        placements=placements,
        held_tokens=options.held_tokens,
    )
    prefill_s = times.prefill_s()
    s_per_token = times.speculative_s_per_token(options.draft_acceptance, options.draft_depth)
    prompt_s = prefill_s * (options.prompt_tokens / PREFILL_TOKENS)
    return _Candidates(
        placements=placements,
        vram_bytes=placements.vram_bytes(parts, draft, options.context),
        ram_bytes=placements.ram_bytes(parts, draft, options.context),
        prefill_s=prefill_s,
        decode_s=times.decode_s(),
        s_per_token=s_per_token,
        workload_s=prompt_s + s_per_token * options.answer_tokens,
    )


def _check_context(parts: ModelParts, options: PlacementOptions) -> None:
    if options.context > parts.trained_context:
        raise PlanOptionError(
            f"context must be between 1 and {parts.trained_context:,} tokens, for which the model "
            f"was trained; got {options.context:,}."
        )


def _vram_limit_bytes(machine: MachineCosts, options: PlacementOptions) -> int:
    """Bytes of VRAM that a plan may take: those asked for, or all."""
    if options.vram_bytes is None:
        return machine.vram_bytes
    if 0 <= options.vram_bytes <= machine.vram_bytes:
        return options.vram_bytes
    if machine.gpu is None:
        raise PlanOptionError(
            f"vram_bytes must be 0 or left out on a machine without a GPU; got "
            f"{options.vram_bytes:,}."
        )
    raise PlanOptionError(
        f"vram_bytes must be between 0 and {machine.vram_bytes:,}, the memory of the GPU; got "
        f"{options.vram_bytes:,}."
    )


def _shortage(
    machine: MachineCosts, options: PlacementOptions, vram_limit_bytes: int, least_bytes: int
) -> str:
    beside = f" beside {format_bytes(vram_limit_bytes)} of VRAM" if vram_limit_bytes else ""
    return (
        f"The model with a context of {options.context:,} tokens does not fit in memory: it needs "
        f"at least {format_bytes(least_bytes)} of RAM{beside}, but only "
        f"{format_bytes(machine.ram_bytes)} can be used. Ask for a shorter context, close other "
        f"programs, or use a smaller model or quantisation."
    )


def _benefits(
    candidates: _Candidates,
    chosen: PlacedModel,
    parts: ModelParts,
    draft: ModelParts | None,
    options: PlacementOptions,
) -> tuple[str, ...]:
    """A sentence for each thing on the GPU, that with the largest benefit per byte first.

    The benefit is what the expected request would take longer without it there, shared among the
    tokens of the answer.
    """
    rated = []
    for what, num_bytes, others in _placed(chosen.placement, parts, draft, options.context):
        indices = [candidates.placements.index(other) for other in others]
        saved_s = float(candidates.workload_s[indices].min()) - chosen.workload_s
        saved_ms = 1e3 * saved_s / options.answer_tokens
        ms_per_gb = saved_ms / (max(num_bytes, 1) / 1e9)
        sentence = f"{what} on the GPU ({format_bytes(num_bytes)}): "
        if saved_s >= 0:
            sentence += f"saves {saved_ms:.2f} ms a token, {ms_per_gb:.2f} ms for each GB."
        else:  # the placements without it would be faster, so they were ruled out
            sentence += "there because the RAM has no room, not for speed."
        rated.append((ms_per_gb, sentence))
    return tuple(sentence for _, sentence in sorted(rated, reverse=True))


def _placed(
    here: Placement, parts: ModelParts, draft: ModelParts | None, context: int
) -> Iterator[tuple[str, int, list[Placement]]]:
    """Each thing on the GPU with its name, its bytes and the placements that do without it."""
    if draft is not None and here.draft_device == "gpu":
        without = [replace(here, draft_device="cpu"), replace(here, draft_device=None)]
        yield "The draft", draft.whole_bytes(context), without
    if here.head_on_gpu:
        yield "The head", parts.head_bytes, [replace(here, head_on_gpu=False)]
    if here.num_gpu_layers:
        num_bytes = sum(parts.layer_bytes(context)[here.first_layer : here.end_layer])
        name = "The layer" if here.num_gpu_layers == 1 else f"The {here.num_gpu_layers} layers"
        yield name, num_bytes, [replace(here, first_layer=0, end_layer=0)]


def _empty_reason(
    candidates: _Candidates,
    chosen: PlacedModel,
    fits: BoolArray,
    machine: MachineCosts,
    vram_limit_bytes: int,
) -> str:
    """Why nothing is on the GPU, in one sentence."""
    if machine.gpu is None:
        return "All of it is on the CPU: there is no GPU to use."
    on_gpu = candidates.placements.uses_gpu
    smallest_bytes = int(candidates.vram_bytes[on_gpu].min())
    if smallest_bytes > vram_limit_bytes:
        return (
            f"The GPU stays empty: its smallest use takes {format_bytes(smallest_bytes)} with the "
            f"margin, and the VRAM limit is {format_bytes(vram_limit_bytes)}."
        )
    fastest = candidates[candidates.fastest(fits & on_gpu)]
    longer = fastest.workload_s / chosen.workload_s - 1
    return f"The GPU stays empty: the best use of it that fits would take {longer:.1%} longer."
