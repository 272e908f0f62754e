"""Prefill with streamed weights: the GPU computes all layers, those in RAM through a staging area.

A layer that lies in RAM is copied to one of two buffers in VRAM while the GPU computes the layer
before it, and takes all rows of the prompt before the next one begins, so each weight crosses the
link once for a prompt. That pays from some length on: copying takes as long for any prompt,
computing on the CPU takes longer for each token.
"""

from bisect import bisect_left
from collections import deque

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement import Placement
from slipstream.offload.simulator.prompt import Prompt, add_prefill
from slipstream.offload.simulator.steps import PlacedParts, WorkList, add_head
from slipstream.offload.simulator.timeline import Timeline
from slipstream.offload.step_times import FLOAT_BYTES, PREFILL_TOKENS

NUM_BUFFERS = 2


def add_streamed_prefill(works: WorkList, model: PlacedParts, prompt: Prompt) -> tuple[int, ...]:
    """Adds the reading of a prompt by the GPU alone, layer by layer; the works that end it.

    Keys and values of a layer in RAM go back there. The logits of the last row are wanted. Raises
    ValueError for a machine without a GPU.
    """
    chunks = list(prompt.chunks())
    if not chunks:
        return ()
    parts = model.parts
    row_bytes = parts.hidden_size * FLOAT_BYTES
    inputs = [
        works.copy("gpu", f"{model.name}, hidden states", n * row_bytes, ()) for n, _ in chunks
    ]
    last = inputs[-1:]
    written = []
    buffers: deque[int] = deque()  # the last uses of those that are taken
    for layer_id, layer in enumerate(parts.layers):
        name = f"{model.name}, layer {layer_id}"
        needed = []
        streamed = not model.placement.layers_on_gpu[layer_id]
        if streamed:
            free = (buffers.popleft(),) if len(buffers) == NUM_BUFFERS else ()
            needed = [works.copy("gpu", f"{name}, weights", layer.weight_bytes, free)]
        for rows, held_tokens in chunks:
            seconds = works.gpu.layer_seconds(layer, rows, parts.kv_tokens(held_tokens))
            last = [works.compute("gpu", name, seconds, (*last, *needed))]
            if streamed:
                num_bytes = rows * layer.kv_bytes_per_token
                written.append(works.copy("cpu", f"{name}, KV cache", num_bytes, tuple(last)))
        if streamed:
            buffers.extend(last)
    return (add_head(works, model, rows=1, here="gpu", after=tuple(last)), *written)


def staging_bytes(parts: ModelParts, placement: Placement, tokens: int) -> int:
    """VRAM that a streamed prefill of `tokens` tokens takes beyond the placement's own.

    Two buffers for the largest layer in RAM, with its keys and values, and the hidden states of all
    rows, before and after a layer.
    """
    in_ram = [
        layer
        for layer, on_gpu in zip(parts.layers, placement.layers_on_gpu, strict=True)
        if not on_gpu
    ]
    buffer_bytes = max((layer.bytes_with_kv(tokens) for layer in in_ram), default=0)
    num_buffers = min(NUM_BUFFERS, len(in_ram))
    return num_buffers * buffer_bytes + 2 * tokens * parts.hidden_size * FLOAT_BYTES


def streaming_crossover_tokens(
    parts: ModelParts,
    machine: MachineCosts,
    placement: Placement,
    *,
    chunk_tokens: int = PREFILL_TOKENS,
    most_tokens: int | None = None,
) -> int | None:
    """The length of prompt from which on the GPU reads it faster with streamed weights.

    None where that is beyond `most_tokens`, by default the context that the model was trained for,
    and where no layer lies in RAM.
    About the length at which tokens * (CPU's seconds a token) > layer's bytes / link + GPU's
    seconds. It is found by bisection: where streaming pays, it is taken to pay for longer prompts.
    Raises ValueError for a machine without a GPU.
    """
    if all(placement.layers_on_gpu):
        return None
    most_tokens = parts.trained_context if most_tokens is None else most_tokens
    model = PlacedParts(name="target", parts=parts, placement=placement)

    def pays(tokens: int) -> bool:
        prompt = Prompt(tokens=tokens, chunk_tokens=chunk_tokens)
        in_place, streamed = WorkList(machine=machine), WorkList(machine=machine)
        add_prefill(in_place, model, prompt)
        add_streamed_prefill(streamed, model, prompt)
        return Timeline.of(streamed.works).end_s < Timeline.of(in_place.works).end_s

    reach = min(chunk_tokens, most_tokens)
    while not pays(reach):
        if reach == most_tokens:
            return None
        reach = min(2 * reach, most_tokens)
    return 1 + bisect_left(range(1, reach), True, key=pays)
