"""Predicted seconds of a model's steps, for many placements at once.

A layer, attention included, takes what `DeviceCosts` says of the device that it lies on; where the
device changes, hidden states cross the link.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slipstream.offload.device_costs import DeviceCosts, LinkCosts, MachineCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.placement import BoolArray, Device, Placement, Placements

FloatArray = npt.NDArray[np.float64]

PREFILL_TOKENS = 512  # of a prompt, read in one step
FLOAT_BYTES = 4  # hidden states and logits cross the link as float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepSeconds:
    """Seconds of one step under N placements, arrays of shape (N,)."""

    total: FloatArray
    gpu: FloatArray  # the part of it in which the GPU computes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTimes:
    """Times under N placements while the cache holds `held_tokens` tokens; arrays of shape (N,)."""

    parts: ModelParts
    draft: ModelParts | None
    machine: MachineCosts
    placements: Placements
    held_tokens: int

    def decode_s(self) -> FloatArray:
        """Seconds of a step of one row, which brings one token without a draft."""
        return self._target_step(rows=1, head_rows=1).total

    def prefill_s(self) -> FloatArray:
        """Seconds in which the model, and the draft if one is used, read 512 tokens of a prompt."""
        target = self._target_step(rows=PREFILL_TOKENS, head_rows=1)
        return self._with_draft(target, self.draft_step_s(PREFILL_TOKENS))

    def draft_step_s(self, rows: int = 1) -> FloatArray:
        """Seconds of a step of the draft, with logits for its last row; 0 where none is used."""
        seconds = np.zeros(len(self.placements))
        if self.draft is not None:
            on_cpu, on_gpu = self.placements.draft_on_cpu, self.placements.draft_on_gpu
            seconds[on_cpu] = self._whole_draft_s(self.draft, "cpu", rows)
            seconds[on_gpu] = self._whole_draft_s(self.draft, "gpu", rows)
        return seconds

    def speculative_s_per_token(self, acceptance: float, depth: int) -> FloatArray:
        """Seconds for each token of the answer; those of `decode_s` where no draft is used.

        A round is `depth` steps of the draft and one of the target, which verifies depth + 1 rows.
        Its seconds are divided by `tokens_a_round`.
        """
        verify = self._target_step(rows=depth + 1, head_rows=depth + 1)
        round_s = self._with_draft(verify, depth * self.draft_step_s())
        drafted = self.placements.draft_on_cpu | self.placements.draft_on_gpu
        return np.where(drafted, round_s / tokens_a_round(acceptance, depth), self.decode_s())

    def _with_draft(self, target: StepSeconds, draft_s: FloatArray) -> FloatArray:
        """Seconds of a step of the target and `draft_s` of drafting, in turns or at once.

        A draft on the GPU goes on while the CPU has its layers of the target (PEARL,
        arXiv:2408.11850), but the GPU does one thing at a time:
        max(target, target's part on the GPU + draft). Else, and with a draft that takes turns, it
        is target + draft.
        """
        in_turns = target.total + draft_s
        at_once = np.maximum(target.total, target.gpu + draft_s)
        goes_on = self.draft is not None and not self.draft.takes_turns
        return np.where(self.placements.draft_goes_on & goes_on, at_once, in_turns)

    def _target_step(self, *, rows: int, head_rows: int) -> StepSeconds:
        return step_seconds(
            self.parts,
            self.machine,
            self.placements,
            rows=rows,
            head_rows=head_rows,
            held_tokens=self.held_tokens,
        )

    def _whole_draft_s(self, draft: ModelParts, device: Device, rows: int) -> float:
        on_gpu = device == "gpu"
        num_layers = len(draft.layers)
        whole = Placement.window(num_layers, end=num_layers * on_gpu, head_on_gpu=on_gpu)
        step = step_seconds(
            draft,
            self.machine,
            Placements.of([whole]),
            rows=rows,
            head_rows=1,
            held_tokens=self.held_tokens,
        )
        return float(step.total[0])


def tokens_a_round(acceptance: float, depth: int) -> float:
    """Expected tokens of a round with a chain of `depth` drafts, each accepted with `acceptance`.

    1 + a + ... + a**d = (1 - a**(d + 1)) / (1 - a). Source: arXiv:2211.17192, eq. 1.
    """
    return sum((acceptance**accepted for accepted in range(depth + 1)), 0.0)


def step_seconds(
    parts: ModelParts,
    machine: MachineCosts,
    placements: Placements,
    *,
    rows: int,
    head_rows: int,
    held_tokens: int,
) -> StepSeconds:
    """Seconds of a step of `rows` rows, of which `head_rows` have their logits wanted.

    Layers and head on their devices, and what crosses the link (`_link_seconds`). The cache holds
    `held_tokens` tokens.
    """
    cpu_layers_s, cpu_head_s = _device_seconds(parts, machine.cpu, rows, head_rows, held_tokens)
    gpu_layers_s, gpu_head_s = _device_seconds(parts, machine.gpu, rows, head_rows, held_tokens)
    # (N, 2): what the GPU takes for its layers, and what the CPU would take for them. Not by `@`,
    # whose threads take longer to start than this takes.
    seconds = np.stack([gpu_layers_s, cpu_layers_s])
    moved = np.einsum("nl,dl->nd", placements.layers_on_gpu, seconds)
    gpu = moved[:, 0] + _seconds_where(placements.head_on_gpu, gpu_head_s)
    cpu = cpu_layers_s.sum() - moved[:, 1] + _seconds_where(~placements.head_on_gpu, cpu_head_s)
    link = _link_seconds(parts, machine.link, placements, rows, head_rows)
    return StepSeconds(total=cpu + gpu + link, gpu=gpu)


def _device_seconds(
    parts: ModelParts, device: DeviceCosts | None, rows: int, head_rows: int, held_tokens: int
) -> tuple[FloatArray, float]:
    """Seconds of each layer, and of the head; 0 without the device."""
    if device is None:
        return np.zeros(len(parts.layers)), 0.0
    tokens = parts.kv_tokens(held_tokens)
    layers = [device.layer_seconds(layer, rows, tokens) for layer in parts.layers]
    return np.array(layers, dtype=np.float64), device.head_seconds(parts, head_rows)


def _link_seconds(
    parts: ModelParts, link: LinkCosts | None, placements: Placements, rows: int, head_rows: int
) -> FloatArray:
    """Seconds of all copies of a step: hidden states (rows, C) and logits (head_rows, V)."""
    if link is None:
        return np.zeros(len(placements))
    row_bytes = parts.hidden_size * FLOAT_BYTES
    logits_s = link.seconds(head_rows * parts.vocab_size * FLOAT_BYTES)
    to_head_s = link.seconds(head_rows * row_bytes)
    seconds = _seconds_where(placements.head_on_gpu, logits_s)
    seconds += _seconds_where(placements.head_crosses(), to_head_s)
    seconds += placements.layer_crossings() * link.seconds(rows * row_bytes)
    return seconds


def _seconds_where(chosen: BoolArray, seconds: float) -> FloatArray:
    return np.where(chosen, seconds, 0.0)
