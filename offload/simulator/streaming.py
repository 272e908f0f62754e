"""Prefill with streamed weights: the GPU computes all layers, those in RAM through a staging area.

A layer that lies in RAM is copied to one of two buffers in VRAM while the GPU computes the layer
before it, so each weight crosses the link once for a chunk of a prompt. That pays from some number
of rows on: copying takes as long for any, computing on the CPU takes longer for each.
"""

from bisect import bisect_left
from collections import deque

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.model_parts import LayerPart, ModelParts
from slipstream.offload.placement.placement import Placement
from slipstream.offload.simulator.prompt import Prompt, add_prefill
from slipstream.offload.simulator.steps import PlacedParts, WorkList, add_head
from slipstream.offload.simulator.timeline import Timeline
from slipstream.offload.step_times import FLOAT_BYTES, PREFILL_TOKENS

NUM_STAGED_LAYERS = 2  # in VRAM at a time: one is computed, the next one comes
# A weight is brought into the order that the GPU's kernels read: it is read and written once, each
# of which takes as long as a product with one row.
_UNPACKING_ROWS = 2


def add_streamed_prefill(works: WorkList, model: PlacedParts, prompt: Prompt) -> tuple[int, ...]:
    """Adds the steps that read a prompt with all layers on the GPU; the works that end the last.

    Keys and values of a layer in RAM go back there. Logits of each chunk's last row are wanted.
    Raises ValueError for a machine without a GPU.
    """
    after: tuple[int, ...] = ()
    for rows, held_tokens in prompt.chunks():
        after = _add_chunk(works, model, rows, model.parts.kv_tokens(held_tokens), after)
    return after


def _add_chunk(
    works: WorkList, model: PlacedParts, rows: int, tokens: int, after: tuple[int, ...]
) -> tuple[int, ...]:
    """Adds one step while the cache holds `tokens` tokens; the works that end it."""
    name, hidden_bytes = model.name, rows * model.parts.hidden_size * FLOAT_BYTES
    last = (works.copy("gpu", f"{name}, hidden states", hidden_bytes, after),)
    buffers = deque([after] * NUM_STAGED_LAYERS)  # what must be done before each may be filled
    written = []
    for layer_id, layer in enumerate(model.parts.layers):
        what = f"{name}, layer {layer_id}"
        seconds = works.gpu.layer_seconds(layer, rows, tokens)
        if model.placement.layers_on_gpu[layer_id]:
            last = (works.compute("gpu", what, seconds, last),)
            continue
        free, kv_bytes = buffers.popleft(), layer.kv_bytes_per_token
        weights = works.copy("gpu", f"{what}, weights", layer.weight_bytes, free)
        past = works.copy("gpu", f"{what}, KV cache", tokens * kv_bytes, (weights,))
        seconds += _UNPACKING_ROWS * works.gpu.layer_seconds(layer, 1, 0)
        last = (works.compute("gpu", what, seconds, (*last, past)),)
        written.append(works.copy("cpu", f"{what}, KV cache", rows * kv_bytes, last))
        buffers.append((written[-1],))
    return (add_head(works, model, rows=1, here="gpu", after=last), *written)


def staged_layers_bytes(parts: ModelParts, placement: Placement, context: int) -> int:
    """VRAM that streamed layers take beyond the placement's own and a workspace.

    Two buffers for the largest layer in RAM, with a KV cache of `context` tokens, and once more its
    two largest matrices, which a step has in the order of the GPU's kernels at a time.
    """
    in_ram, tokens = _layers_in_ram(parts, placement), parts.kv_tokens(context)
    buffer_bytes = max((layer.bytes_with_kv(tokens) for layer in in_ram), default=0)
    num_buffers = min(NUM_STAGED_LAYERS, len(in_ram))
    return num_buffers * buffer_bytes + unpacked_bytes(parts, placement)


def unpacked_bytes(parts: ModelParts, placement: Placement) -> int:
    """VRAM of matrices in the order of the GPU's kernels, in a step with streamed layers."""
    in_ram = _layers_in_ram(parts, placement)
    largest = (sorted(each.num_bytes for each in layer.matrices)[-2:] for layer in in_ram)
    return max(map(sum, largest), default=0)


def _layers_in_ram(parts: ModelParts, placement: Placement) -> list[LayerPart]:
    layers = zip(parts.layers, placement.layers_on_gpu, strict=True)
    return [layer for layer, on_gpu in layers if not on_gpu]


def chunk_seconds(
    parts: ModelParts, machine: MachineCosts, placement: Placement, rows: int, *, streamed: bool
) -> float:
    """Seconds of the first step of a prompt, of so many rows."""
    works, prompt = WorkList(machine=machine), Prompt(tokens=rows)
    add = add_streamed_prefill if streamed else add_prefill
    add(works, PlacedParts(name="target", parts=parts, placement=placement), prompt)
    return Timeline.of(works.works).end_s


def streaming_crossover_rows(
    parts: ModelParts, machine: MachineCosts, placement: Placement
) -> int | None:
    """The rows of a step from which on the GPU computes it faster with streamed weights.

    None where that is beyond 512, which a step has at most, and where no layer lies in RAM.
    About the number at which rows * (CPU's seconds a row) > layer's bytes / link + GPU's seconds.
    It is found by bisection: where streaming pays, it is taken to pay for more rows. Raises
    ValueError for a machine without a GPU.
    """
    if all(placement.layers_on_gpu):
        return None

    def pays(rows: int) -> bool:
        in_place_s, streamed_s = (
            chunk_seconds(parts, machine, placement, rows, streamed=streamed)
            for streamed in (False, True)
        )
        return streamed_s < in_place_s

    if not pays(PREFILL_TOKENS):
        return None
    return 1 + bisect_left(range(1, PREFILL_TOKENS), True, key=pays)
