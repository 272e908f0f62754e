"""Placements of a model on a machine, many at once, with their bytes and predicted times."""

from dataclasses import dataclass

import numpy as np

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.layer_sets import layer_sets
from slipstream.offload.placement.measures import layer_costs
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.placement import (
    VRAM_MARGIN_BYTES,
    BoolArray,
    IntArray,
    Placements,
)
from slipstream.offload.placement.plan import PlacedModel
from slipstream.offload.step_times import PREFILL_TOKENS, FloatArray, StepTimes

SAME_SHARE = 1e-9  # of the predicted time: less than that apart, two placements are as fast


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementTask:
    """What is planned."""

    parts: ModelParts
    draft: ModelParts | None
    machine: MachineCosts
    options: PlacementOptions
    vram_limit_bytes: int

    def predict(self, placements: Placements) -> "Candidates":
        """Bytes and predicted times of these placements."""
        options = self.options
        times = StepTimes(
            parts=self.parts,
            draft=self.draft,
            machine=self.machine,
            placements=placements,
            held_tokens=options.held_tokens,
        )
        prefill_s = times.prefill_s()
        s_per_token = times.speculative_s_per_token(options.draft_acceptance, options.draft_depth)
        prompt_s = prefill_s * (options.prompt_tokens / PREFILL_TOKENS)
        return Candidates(
            placements=placements,
            vram_bytes=placements.vram_bytes(self.parts, self.draft, options.context),
            ram_bytes=placements.ram_bytes(self.parts, self.draft, options.context),
            prefill_s=prefill_s,
            decode_s=times.decode_s(),
            s_per_token=s_per_token,
            workload_s=prompt_s + s_per_token * options.answer_tokens,
        )

    def with_each_head_and_draft(self, sets: BoolArray) -> Placements:
        """The placements that have one of these sets of layers (N, L) on the GPU."""
        return Placements.with_each_head_and_draft(
            sets, has_gpu=self.machine.gpu is not None, has_draft=self.draft is not None
        )

    def sets_worth_having(self) -> BoolArray:
        """Sets of layers (N, L) that leave room for workspace and margin, the empty one first."""
        cpu, gpu, link = self.machine.cpu, self.machine.gpu, self.machine.link
        if gpu is None or link is None:
            return np.zeros((1, len(self.parts.layers)), dtype=np.bool_)
        has_draft = self.draft is not None
        costs = layer_costs(self.parts, cpu, gpu, link, self.options, has_draft=has_draft)
        workspace_bytes = self.parts.gpu_workspace_bytes(self.options.context)
        room_bytes = self.vram_limit_bytes - VRAM_MARGIN_BYTES - workspace_bytes
        rooms_bytes = [room_bytes, room_bytes - self.parts.head_bytes]
        if self.draft is not None:
            draft_bytes = self.draft.whole_bytes(self.options.context, on_gpu=True)
            rooms_bytes += [each - draft_bytes for each in rooms_bytes]
        return layer_sets(self.parts.layer_bytes(self.options.context), costs, rooms_bytes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Placements with their bytes and predicted times, arrays of shape (N,)."""

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
