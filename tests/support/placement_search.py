"""Random models and machines, and the slow, plain search that plans for a GPU are held against.

Every set of layers is a choice here, and its bytes and seconds are added up part by part.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np

from slipstream.offload.device_costs import (
    MachineCosts,
    NominalDeviceCosts,
    NominalLinkCosts,
)
from slipstream.offload.errors import PlanMemoryError
from slipstream.offload.model_parts import LayerPart, Matrix, ModelParts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.placement.planner import plan_placement

MB = 10**6


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is planned."""

    parts: ModelParts
    draft: ModelParts | None
    machine: MachineCosts
    options: PlacementOptions

    @property
    def vram_limit_bytes(self) -> int:
        limit_bytes = self.options.vram_bytes
        return self.machine.vram_bytes if limit_bytes is None else limit_bytes

    def plan(self) -> PlacementPlan:
        return plan_placement(self.parts, self.draft, self.machine, self.options)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A set of layers on the GPU, and where the head and the draft are."""

    on_gpu: frozenset[int]
    head_on_gpu: bool
    draft_device: str | None


def chosen_by(made: PlacementPlan) -> Choice:
    placement = made.placement
    return Choice(
        on_gpu=frozenset(np.flatnonzero(placement.layers_on_gpu).tolist()),
        head_on_gpu=placement.head_on_gpu,
        draft_device=placement.draft_device,
    )


def taking_turns(case: Case) -> Case:
    """The case with a draft, if there is one, that never goes on beside the target."""
    return replace(case, draft=case.draft and replace(case.draft, takes_turns=True))


def some(rng: np.random.Generator, low: float, high: float) -> float:
    """Between `low` and `high`, each power of two as likely."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def random_parts(rng: np.random.Generator, num_layers: int, spread: float) -> ModelParts:
    """Layers whose sizes differ by up to `spread` of their mean in both directions."""
    bytes_a_weight = rng.uniform(0.5, 2)
    sizes = some(rng, 5e6, 3e8) * rng.uniform(1 - spread, 1 + spread, num_layers)
    kv_bytes_per_token = int(rng.integers(0, 20_000))
    attention_multiply_adds = int(kv_bytes_per_token * rng.uniform(0, 4))
    hidden_size, vocab_size = int(rng.integers(256, 8192)), int(rng.integers(1000, 200_000))
    return ModelParts(
        layers=tuple(
            LayerPart(
                matrices=(matrix(int(size), int(size / bytes_a_weight)),),
                kv_bytes_per_token=kv_bytes_per_token,
                attention_multiply_adds=attention_multiply_adds,
            )
            for size in sizes
        ),
        head=matrix(int(hidden_size * vocab_size * bytes_a_weight), hidden_size * vocab_size),
        hidden_size=hidden_size,
        vocab_size=vocab_size,
        workspace_bytes=int(rng.integers(0, 300 * MB)),
        trained_context=int(rng.integers(1000, 32_000)),
        attention_bytes_per_token=int(rng.integers(0, 5000)),
    )


def matrix(num_bytes: int, multiply_adds: int) -> Matrix:
    """A matrix whose quantisation does not matter: nominal costs do not look at it."""
    return Matrix(quant_type="Q4_K", num_bytes=num_bytes, multiply_adds=multiply_adds)


def random_machine(rng: np.random.Generator, has_gpu: bool) -> MachineCosts:
    cpu = NominalDeviceCosts(
        read_gb_per_s=some(rng, 5, 100),
        multiply_adds_per_s=some(rng, 5e10, 2e12),
        layer_overhead_s=rng.uniform(0, 1e-4),
    )
    ram_bytes = int(some(rng, 1e9, 32e9))
    if not has_gpu:
        return MachineCosts(cpu=cpu, ram_bytes=ram_bytes)
    gpu = NominalDeviceCosts(
        read_gb_per_s=some(rng, 20, 1000),
        multiply_adds_per_s=some(rng, 2e11, 5e13),
        layer_overhead_s=rng.uniform(0, 3e-4),
    )
    return MachineCosts(
        cpu=cpu,
        gpu=gpu,
        link=NominalLinkCosts(gb_per_s=some(rng, 0.5, 30), latency_s=some(rng, 1e-6, 1e-3)),
        ram_bytes=ram_bytes,
        vram_bytes=int(some(rng, 5e8, 12e9)),
    )


def random_case(
    rng: np.random.Generator,
    *,
    most_layers: int,
    spread: float,
    has_gpu: bool = True,
    may_limit: bool = True,
) -> Case:
    parts = random_parts(rng, int(rng.integers(1, most_layers + 1)), spread)
    draft = random_parts(rng, int(rng.integers(1, 5)), 0.1) if rng.random() < 0.6 else None
    machine = random_machine(rng, has_gpu)
    vram_bytes = None
    if may_limit and rng.random() < 0.5:
        vram_bytes = int(machine.vram_bytes * rng.random())
    options = PlacementOptions(
        context=int(rng.integers(1, parts.trained_context + 1)),
        vram_bytes=vram_bytes,
        prompt_tokens=int(rng.integers(0, 4000)),
        answer_tokens=int(rng.integers(1, 2000)),
        draft_acceptance=rng.random(),
        draft_depth=int(rng.integers(1, 9)),
    )
    return Case(parts=parts, draft=draft, machine=machine, options=options)


def placed_bytes(case: Case, choice: Choice) -> tuple[int, int]:
    """VRAM and RAM that a choice takes, added up part by part."""
    parts, draft, context = case.parts, case.draft, case.options.context
    taken = {"cpu": parts.workspace_bytes, "gpu": 0}
    for layer_id, layer in enumerate(parts.layers):
        device = "gpu" if layer_id in choice.on_gpu else "cpu"
        taken[device] += layer.weight_bytes + context * layer.kv_bytes_per_token
    taken["gpu" if choice.head_on_gpu else "cpu"] += parts.head_bytes
    if choice.on_gpu or choice.head_on_gpu:
        taken["gpu"] += parts.workspace_bytes + context * parts.attention_bytes_per_token
    if draft is not None and choice.draft_device is not None:
        draft_context = min(context, draft.trained_context)
        for layer in draft.layers:
            taken[choice.draft_device] += layer.weight_bytes
            taken[choice.draft_device] += draft_context * layer.kv_bytes_per_token
        taken[choice.draft_device] += draft.head_bytes + draft.workspace_bytes
        if choice.draft_device == "gpu":
            taken["gpu"] += draft_context * draft.attention_bytes_per_token
    if choice.on_gpu or choice.head_on_gpu or choice.draft_device == "gpu":
        taken["gpu"] += VRAM_MARGIN_BYTES
    return taken["gpu"], taken["cpu"]


def fits(case: Case, choice: Choice) -> bool:
    vram_bytes, ram_bytes = placed_bytes(case, choice)
    return vram_bytes <= case.vram_limit_bytes and ram_bytes <= case.machine.ram_bytes


def step_s(
    parts: ModelParts, case: Case, choice: Choice, rows: int, head_rows: int
) -> tuple[float, float]:
    """Seconds of a step, and those of its part on the GPU, from the embedding to the logits."""
    machine, options = case.machine, case.options
    held_tokens = min(options.context, options.prompt_tokens + options.answer_tokens // 2)
    held_tokens = min(held_tokens, parts.trained_context)
    costs = {False: machine.cpu, True: machine.gpu}
    spent_s = {False: 0.0, True: 0.0}
    copied = []  # bytes
    was_on_gpu = False
    for layer_id, layer in enumerate(parts.layers):
        on_gpu = layer_id in choice.on_gpu
        if on_gpu != was_on_gpu:
            copied.append(4 * rows * parts.hidden_size)
        was_on_gpu = on_gpu
        num_bytes = layer.weight_bytes + held_tokens * layer.kv_bytes_per_token
        multiply_adds = layer.multiply_adds + held_tokens * layer.attention_multiply_adds
        spent_s[on_gpu] += costs[on_gpu].matrix_seconds(num_bytes, multiply_adds, rows)
    if choice.head_on_gpu != was_on_gpu:
        copied.append(4 * head_rows * parts.hidden_size)
    if choice.head_on_gpu:
        copied.append(4 * head_rows * parts.vocab_size)
    multiply_adds = parts.hidden_size * parts.vocab_size
    spent_s[choice.head_on_gpu] += costs[choice.head_on_gpu].matrix_seconds(
        parts.head_bytes, multiply_adds, head_rows
    )
    link_s = sum(machine.link.seconds(num_bytes) for num_bytes in copied) if copied else 0.0
    return spent_s[False] + spent_s[True] + link_s, spent_s[True]


def workload_s(case: Case, choice: Choice) -> float:
    """Seconds of the prompt and the answer that the options expect."""
    parts, draft, options = case.parts, case.draft, case.options

    def draft_s(rows: int) -> float:
        if draft is None or choice.draft_device is None:
            return 0.0
        on_gpu = choice.draft_device == "gpu"
        all_layers = frozenset(range(len(draft.layers)))
        whole = Choice(
            on_gpu=all_layers if on_gpu else frozenset(), head_on_gpu=on_gpu, draft_device=None
        )
        return step_s(draft, case, whole, rows, 1)[0]

    def both_s(target: tuple[float, float], drafting_s: float) -> float:
        takes_turns = draft is not None and draft.takes_turns
        if (
            choice.draft_device == "gpu"
            and len(choice.on_gpu) < len(parts.layers)
            and not takes_turns
        ):
            return max(target[0], target[1] + drafting_s)
        return target[0] + drafting_s

    prefill_s = both_s(step_s(parts, case, choice, 512, 1), draft_s(512))
    token_s = step_s(parts, case, choice, 1, 1)[0]
    if choice.draft_device is not None:
        depth, acceptance = options.draft_depth, options.draft_acceptance
        verify = step_s(parts, case, choice, depth + 1, depth + 1)
        tokens = (1 - acceptance ** (depth + 1)) / (1 - acceptance)
        token_s = both_s(verify, depth * draft_s(1)) / tokens
    return options.prompt_tokens / 512 * prefill_s + options.answer_tokens * token_s


def choices(case: Case) -> Iterator[Choice]:
    """Every set of layers, with every place of head and draft."""
    layer_ids = range(len(case.parts.layers))
    sets = [each for size in range(len(layer_ids) + 1) for each in combinations(layer_ids, size)]
    drafts = (None,) if case.draft is None else (None, "cpu", "gpu")
    for layers, head_on_gpu, draft_device in product(sets, (False, True), drafts):
        yield Choice(on_gpu=frozenset(layers), head_on_gpu=head_on_gpu, draft_device=draft_device)


def least_s(case: Case) -> float | None:
    """Seconds of the fastest choice that fits; None when none does."""
    fitting = (choice for choice in choices(case) if fits(case, choice))
    return min((workload_s(case, choice) for choice in fitting), default=None)


def try_plan(case: Case) -> PlacementPlan | None:
    try:
        return case.plan()
    except PlanMemoryError:
        return None
