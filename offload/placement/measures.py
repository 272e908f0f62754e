"""What the planner holds the time of a request to be, as sums over layers.

A request takes the sum of its layers' seconds, but for a draft on the GPU that goes on while the
CPU has its layers of the target (`step_times.py`). Then a step takes G + max(C + X, D) seconds: G
is the GPU's part of the target, C the CPU's, X what crosses the link, D the draft. That is no sum
over layers, but it is one on each side of the maximum, for prefill and for decode; so the sets of
layers are searched by each of these sums, and whole placements are compared by the formula itself.
"""

import numpy as np

from slipstream.offload.device_costs import DeviceCosts, LinkCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.layer_sets import LayerCosts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.step_times import (
    FLOAT_BYTES,
    PREFILL_TOKENS,
    FloatArray,
    tokens_a_round,
)


def layer_costs(
    parts: ModelParts,
    cpu: DeviceCosts,
    gpu: DeviceCosts,
    link: LinkCosts,
    options: PlacementOptions,
    *,
    has_draft: bool,
) -> LayerCosts:
    """Seconds that layers add to a request: by one measure without a draft, by five with one."""
    steps, shown = _step_counts(options, has_draft)
    rows_of_steps = (PREFILL_TOKENS, 1, options.draft_depth + 1)
    row_bytes = parts.hidden_size * FLOAT_BYTES
    crossing = np.array([link.seconds(rows * row_bytes) for rows in rows_of_steps])
    return LayerCosts(
        on_cpu=shown @ _layer_seconds(parts, cpu, rows_of_steps, options),
        on_gpu=steps @ _layer_seconds(parts, gpu, rows_of_steps, options),
        crossing=shown @ crossing,
    )


def _step_counts(options: PlacementOptions, has_draft: bool) -> tuple[FloatArray, FloatArray]:
    """Steps of a request by each measure, (Q, 3): of prefill, of plain decode, of verification.

    The second array has those whose part on the CPU is not hidden behind the draft: all of them
    without a draft and with one that takes turns, else those of prefill, of decode or of neither.
    """
    prefills = options.prompt_tokens / PREFILL_TOKENS
    rounds = options.answer_tokens / tokens_a_round(options.draft_acceptance, options.draft_depth)
    plain = [prefills, options.answer_tokens, 0]
    if not has_draft:
        return np.array([plain]), np.array([plain])
    steps = [plain, *[[prefills, 0, rounds]] * 4]
    shown = [plain, [prefills, 0, rounds], [prefills, 0, 0], [0, 0, rounds], [0, 0, 0]]
    return np.array(steps, dtype=np.float64), np.array(shown, dtype=np.float64)


def _layer_seconds(
    parts: ModelParts,
    device: DeviceCosts,
    rows_of_steps: tuple[int, ...],
    options: PlacementOptions,
) -> FloatArray:
    """Seconds of each layer in each kind of step, (3, L)."""
    tokens = parts.kv_tokens(options.held_tokens)
    return np.array(
        [
            [device.layer_seconds(layer, rows, tokens) for layer in parts.layers]
            for rows in rows_of_steps
        ]
    )
