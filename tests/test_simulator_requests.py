"""Simulated requests take what the closed form says, or less where something overlaps."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from slipstream.offload.machine_presets import machine_preset
from slipstream.offload.model_parts import LayerPart, ModelParts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.placement import Device, Placement
from slipstream.offload.placement.planner import plan_placement
from slipstream.offload.simulator import Request, SimulatedRequest, rank, simulate_request
from slipstream.offload.simulator.timeline import LINK, RESOURCES
from support.placement_search import Case, Choice, matrix, random_case, step_s, taking_turns

MB = 10**6


def random_placement(rng: np.random.Generator, case: Case) -> Placement:
    devices: list[Device | None] = [None] if case.draft is None else [None, "cpu", "gpu"]
    return Placement(
        layers_on_gpu=tuple((rng.random(len(case.parts.layers)) < 0.5).tolist()),
        head_on_gpu=bool(rng.random() < 0.5),
        draft_device=devices[rng.integers(len(devices))],
    )


def random_request(rng: np.random.Generator, case: Case, **changes: bool) -> Request:
    """Whole chunks of prompt and a cache that always holds as much, as the closed form has it."""
    request = Request.expected(case.options)
    return replace(
        request,
        prompt_tokens=512 * int(rng.integers(0, 4)),
        answer_tokens=int(rng.integers(1, 40)),
        held_tokens=case.options.held_tokens,
        **changes,
    )


def simulated(case: Case, placement: Placement, request: Request) -> SimulatedRequest:
    return simulate_request(case.parts, case.draft, case.machine, placement, request)


def choice_of(placement: Placement) -> Choice:
    return Choice(
        on_gpu=frozenset(np.flatnonzero(placement.layers_on_gpu).tolist()),
        head_on_gpu=placement.head_on_gpu,
        draft_device=placement.draft_device,
    )


def draft_s(case: Case, placement: Placement, rows: int) -> float:
    """Seconds of a step of the draft; 0 without one."""
    if case.draft is None or placement.draft_device is None:
        return 0.0
    on_gpu = placement.draft_device == "gpu"
    layers = frozenset(range(len(case.draft.layers))) if on_gpu else frozenset()
    whole = Choice(on_gpu=layers, head_on_gpu=on_gpu, draft_device=None)
    return step_s(case.draft, case, whole, rows, 1)[0]


def verified_rows(placement: Placement, request: Request) -> int:
    return 1 if placement.draft_device is None else request.draft_depth + 1


def tokens_of_rounds(placement: Placement, request: Request) -> float:
    if placement.draft_device is None:
        return 1.0
    return float(sum(request.draft_acceptance**n for n in range(request.draft_depth + 1)))


def parts_s(
    case: Case, placement: Placement, request: Request
) -> tuple[float, float, float, float]:
    """Seconds of target and draft in a chunk of the prompt, and in a round of the answer."""
    rows = verified_rows(placement, request)
    choice = choice_of(placement)
    return (
        step_s(case.parts, case, choice, 512, 1)[0],
        draft_s(case, placement, 512),
        step_s(case.parts, case, choice, rows, rows)[0],
        request.draft_depth * draft_s(case, placement, 1),
    )


def test_without_overlap_it_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        case = random_case(rng, most_layers=6, spread=0.5)
        placement = random_placement(rng, case)
        request = random_request(rng, case, overlaps=False)
        made = simulated(case, placement, request)
        target_chunk, draft_chunk, target_round, draft_round = parts_s(case, placement, request)
        tokens = tokens_of_rounds(placement, request)
        prefill_s = request.prompt_tokens / 512 * (target_chunk + draft_chunk)
        token_s = (target_round + draft_round) / tokens
        assert made.prefill_s == pytest.approx(prefill_s)
        assert made.s_per_token == pytest.approx(token_s)
        assert made.request_s == pytest.approx(prefill_s + request.answer_tokens * token_s)


def test_a_draft_that_takes_turns_never_overlaps() -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        case = taking_turns(random_case(rng, most_layers=6, spread=0.5))
        placement = replace(random_placement(rng, case), draft_device=case.draft and "gpu")
        request = random_request(rng, case)
        made = simulated(case, placement, request)
        assert made == simulated(case, placement, replace(request, overlaps=False))


def test_with_overlap_it_is_between_the_longer_and_the_sum() -> None:
    rng = np.random.default_rng(1)
    num_shorter = 0
    for _ in range(150):
        case = random_case(rng, most_layers=6, spread=0.5)
        placement = replace(random_placement(rng, case), draft_device=case.draft and "gpu")
        request = random_request(rng, case)
        made = simulated(case, placement, request)
        target_chunk, draft_chunk, target_round, draft_round = parts_s(case, placement, request)
        chunks, tokens = request.prompt_tokens / 512, tokens_of_rounds(placement, request)
        sum_s = chunks * (target_chunk + draft_chunk)
        assert max(target_chunk, draft_chunk) * chunks * (1 - 1e-9) <= made.prefill_s
        assert made.prefill_s <= sum_s * (1 + 1e-9)
        round_s = made.s_per_token * tokens
        assert max(target_round, draft_round) * (1 - 1e-9) <= round_s
        assert round_s <= (target_round + draft_round) * (1 + 1e-9)
        num_shorter += made.prefill_s < 0.99 * sum_s
    assert num_shorter > 10


def test_a_draft_alone_on_the_gpu_is_hidden_behind_the_target() -> None:
    """As the closed form has it, but for the first round's draft, which nothing hides."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        case = random_case(rng, most_layers=6, spread=0.5)
        if case.draft is None:
            continue
        placement = Placement.window(len(case.parts.layers), draft_device="gpu")
        request = replace(random_request(rng, case), answer_tokens=40)
        made = simulated(case, placement, request)
        target_chunk, draft_chunk, target_round, draft_round = parts_s(case, placement, request)
        chunks = request.prompt_tokens / 512
        assert made.prefill_s == pytest.approx(chunks * max(target_chunk, draft_chunk))
        tokens = tokens_of_rounds(placement, request)
        num_rounds = int(np.ceil(40 / tokens))
        rounds_s = draft_round + (num_rounds - 1) * max(target_round, draft_round) + target_round
        assert made.s_per_token * num_rounds * tokens == pytest.approx(rounds_s)


@pytest.mark.parametrize("streams_weights", [False, True])
def test_no_resource_does_two_things_at_once(streams_weights: bool) -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        case = random_case(rng, most_layers=6, spread=0.5)
        request = random_request(rng, case, streams_weights=streams_weights)
        made = simulated(case, random_placement(rng, case), request)
        for resource in RESOURCES:
            of_it = [event for event in made.timeline.events if event.resource == resource]
            assert all(first.end_s <= later.start_s for first, later in pairwise(of_it))
            busy_s = sum(event.seconds for event in of_it)
            assert made.busy_shares[resource] == pytest.approx(busy_s / made.timeline.end_s)


@pytest.mark.parametrize("streams_weights", [False, True])
@pytest.mark.parametrize("overlaps", [False, True])
def test_a_faster_link_never_makes_it_slower(overlaps: bool, streams_weights: bool) -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        case = random_case(rng, most_layers=6, spread=0.5)
        link = case.machine.link
        faster = replace(link, gb_per_s=2 * link.gb_per_s)
        better = replace(case, machine=replace(case.machine, link=faster))
        placement = random_placement(rng, case)
        request = random_request(rng, case, overlaps=overlaps, streams_weights=streams_weights)
        made, again = simulated(case, placement, request), simulated(better, placement, request)
        assert again.prefill_s <= made.prefill_s * (1 + 1e-9)
        assert again.request_s <= made.request_s * (1 + 1e-9)
        assert again.prefill_link_bytes == made.prefill_link_bytes


def test_link_bytes_are_what_crosses() -> None:
    rng = np.random.default_rng(5)
    for _ in range(100):
        case = random_case(rng, most_layers=6, spread=0.5)
        placement = random_placement(rng, case)
        request = random_request(rng, case)
        made = simulated(case, placement, request)
        rows = verified_rows(placement, request)
        chunk_bytes = step_bytes(case.parts, placement, 512, 1)
        round_bytes = step_bytes(case.parts, placement, rows, rows)
        if case.draft is not None and placement.draft_device == "gpu":
            num_layers = len(case.draft.layers)
            whole = Placement.window(num_layers, end=num_layers, head_on_gpu=True)
            chunk_bytes += step_bytes(case.draft, whole, 512, 1)
            round_bytes += request.draft_depth * step_bytes(case.draft, whole, 1, 1)
        tokens = tokens_of_rounds(placement, request)
        assert made.prefill_link_bytes == request.prompt_tokens // 512 * chunk_bytes
        assert made.link_bytes_per_token == pytest.approx(round_bytes / tokens)
        works = made.timeline.works
        assert all((work.num_bytes > 0) == (work.resource in LINK) for work in works)


def step_bytes(parts: ModelParts, placement: Placement, rows: int, head_rows: int) -> int:
    """Bytes of hidden states and logits that cross the link in a step."""
    where = [False, *placement.layers_on_gpu]
    num_bytes = sum(a != b for a, b in pairwise(where)) * rows * parts.hidden_size * 4
    num_bytes += (where[-1] != placement.head_on_gpu) * head_rows * parts.hidden_size * 4
    return num_bytes + placement.head_on_gpu * head_rows * parts.vocab_size * 4


def test_ranking_agrees_with_the_closed_form_where_nothing_overlaps() -> None:
    rng = np.random.default_rng(6)
    for _ in range(30):
        case = random_case(rng, most_layers=6, spread=0.5)
        request = random_request(rng, case, overlaps=False)
        placements = [random_placement(rng, case) for _ in range(6)]
        ranked = rank(placements, case.parts, case.draft, case.machine, request)
        seconds = []
        for each in ranked:
            target_chunk, draft_chunk, *of_round = parts_s(case, each.placement, request)
            tokens = tokens_of_rounds(each.placement, request)
            prefill_s = request.prompt_tokens / 512 * (target_chunk + draft_chunk)
            seconds.append(prefill_s + request.answer_tokens * sum(of_round) / tokens)
        assert seconds == pytest.approx(sorted(seconds))


def test_the_cache_grows_where_it_is_not_said_what_it_holds() -> None:
    layer = LayerPart(matrices=(matrix(MB, 1),), kv_bytes_per_token=MB, attention_multiply_adds=0)
    parts = ModelParts(
        layers=(layer,),
        head=matrix(MB, 64 * 1000),
        hidden_size=64,
        vocab_size=1000,
        workspace_bytes=0,
        trained_context=4096,
    )
    request = Request(prompt_tokens=700, answer_tokens=3)
    machine = machine_preset("cpu-only")
    made = simulate_request(parts, None, machine, Placement.window(1), request)
    layers = [event for event in made.timeline.events if event.what == "target, layer 0"]
    held = [0, 512, 700, 701, 702]
    rows = [512, 188, 1, 1, 1]
    for event, num_rows, tokens in zip(layers, rows, held, strict=True):
        seconds = machine.cpu.layer_seconds(layer, num_rows, tokens)
        assert event.seconds == pytest.approx(seconds)


def test_a_plan_and_its_runner_up_on_a_preset() -> None:
    layer = LayerPart(
        matrices=(matrix(155 * MB, 233 * MB),), kv_bytes_per_token=2048, attention_multiply_adds=0
    )
    parts = ModelParts(
        layers=(layer,) * 28,
        head=matrix(450 * MB, 3584 * 151_936),
        hidden_size=3584,
        vocab_size=151_936,
        workspace_bytes=150 * MB,
        trained_context=32_768,
    )
    options = PlacementOptions(context=4096)
    machine = machine_preset("gtx-1650")
    plan = plan_placement(parts, None, machine, options)
    assert plan.runner_up is not None
    placements = [Placement.window(28), plan.runner_up.placement, plan.placement]
    ranked = rank(placements, parts, None, machine, Request.expected(options))
    assert [each.placement for each in ranked] == placements[::-1]
    simulated = ranked[0].simulated
    assert simulated.request_s == pytest.approx(plan.chosen.workload_s, rel=0.05)


class TestRefusals:
    @pytest.mark.parametrize(
        "changes",
        [{"answer_tokens": 0}, {"prompt_tokens": -1}, {"draft_depth": 0}, {"draft_acceptance": 2}],
    )
    def test_numbers_that_make_no_request(self, changes: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="no such request"):
            Request(**{"prompt_tokens": 1, "answer_tokens": 1, **changes})

    def test_a_gpu_or_a_draft_that_is_not_there(self) -> None:
        case = random_case(np.random.default_rng(7), most_layers=3, spread=0.0, has_gpu=False)
        num_layers = len(case.parts.layers)
        request = Request(prompt_tokens=1, answer_tokens=1)
        on_gpu = Placement.window(num_layers, head_on_gpu=True)
        with pytest.raises(ValueError, match="GPU on a machine without one"):
            simulate_request(case.parts, None, case.machine, on_gpu, request)
        drafted = Placement.window(num_layers, draft_device="cpu")
        with pytest.raises(ValueError, match="there is none"):
            simulate_request(case.parts, None, case.machine, drafted, request)
