"""Whether prompts are read by the GPU with streamed weights, from which length on, and what for."""

from dataclasses import dataclass
from typing import Self

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES, Placement
from slipstream.offload.simulator.streaming import (
    chunk_seconds,
    staged_layers_bytes,
    streaming_crossover_rows,
)
from slipstream.offload.step_times import PREFILL_TOKENS
from slipstream.offload.units import format_bytes

_FITTED_ROWS = 64  # or less where less pays: with 512, those whose seconds a line goes through


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """Seconds of a step as a straight line over its rows."""

    fixed_s: float
    row_s: float

    @classmethod
    def through(cls, rows: int, seconds: float, more_rows: int, more_seconds: float) -> Self:
        """The line through two points."""
        row_s = (more_seconds - seconds) / (more_rows - rows)
        return cls(fixed_s=seconds - rows * row_s, row_s=row_s)

    def seconds(self, rows: int) -> float:
        return self.fixed_s + rows * self.row_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingPlan:
    """In steps with many rows of a prompt the GPU computes all layers, those in RAM streamed.

    least_rows : of a step, from which on that is predicted to pay
    vram_bytes : beyond what the placement takes
    in_place, streamed : predicted seconds of the two kinds of steps
    """

    least_rows: int
    num_layers: int  # that are streamed
    vram_bytes: int
    in_place: StepLine
    streamed: StepLine

    def saved_s(self, tokens: int) -> float:
        """Seconds that reading a prompt of so many tokens takes less."""
        whole, rest = divmod(tokens, PREFILL_TOKENS)
        steps = [PREFILL_TOKENS] * whole + [rest] * (rest >= self.least_rows)
        return sum(self.in_place.seconds(rows) - self.streamed.seconds(rows) for rows in steps)

    def __str__(self) -> str:
        layers = "the layer" if self.num_layers == 1 else f"the {self.num_layers} layers"
        return (
            f"Steps of {self.least_rows:,} prompt tokens or more: {layers} in RAM streamed to the "
            f"GPU ({format_bytes(self.vram_bytes)}), {PREFILL_TOKENS} tokens in "
            f"{self.streamed.seconds(PREFILL_TOKENS):.2f} s instead of "
            f"{self.in_place.seconds(PREFILL_TOKENS):.2f} s."
        )


def plan_streaming(
    parts: ModelParts, machine: MachineCosts, placement: Placement, context: int
) -> StreamingPlan | None:
    """How the layers that a placement leaves in RAM are streamed; None where that never pays."""
    if machine.gpu is None:
        return None
    least_rows = streaming_crossover_rows(parts, machine, placement)
    if least_rows is None or least_rows > context:
        return None
    few_rows = min(_FITTED_ROWS, least_rows)

    def line(*, streamed: bool) -> StepLine:
        few_s, most_s = (
            chunk_seconds(parts, machine, placement, rows, streamed=streamed)
            for rows in (few_rows, PREFILL_TOKENS)
        )
        return StepLine.through(few_rows, few_s, PREFILL_TOKENS, most_s)

    return StreamingPlan(
        least_rows=least_rows,
        num_layers=placement.layers_on_gpu.count(False),
        vram_bytes=_streaming_bytes(parts, placement, context),
        in_place=line(streamed=False),
        streamed=line(streamed=True),
    )


def _streaming_bytes(parts: ModelParts, placement: Placement, context: int) -> int:
    """VRAM that streamed layers take beyond what a placement has."""
    num_bytes = staged_layers_bytes(parts, placement, context)
    if not placement.has_target_part:
        num_bytes += parts.gpu_workspace_bytes(context)
    return num_bytes if placement.uses_gpu else num_bytes + VRAM_MARGIN_BYTES
