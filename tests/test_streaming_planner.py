"""Plans with streamed prompts stay inside the memories and are faster than those without."""

from dataclasses import replace

import numpy as np
import pytest

from slipstream.offload.errors import PlanMemoryError
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.placement.streaming_planner import plan_with_streaming
from slipstream.offload.simulator import Request, simulate_request
from support.placement_search import Case, random_case

NUM_CASES = 1000


def planned(case: Case) -> PlacementPlan | None:
    try:
        return plan_with_streaming(case.parts, case.draft, case.machine, case.options)
    except PlanMemoryError:
        return None


def test_no_budget_is_exceeded_and_no_request_is_slower() -> None:
    rng, num_streamed = np.random.default_rng(0), 0
    for number in range(NUM_CASES):
        case = random_case(rng, most_layers=10, spread=0.5, has_gpu=number % 8 > 0)
        made = planned(case)
        if made is None:
            continue
        plain = case.plan()
        assert made.chosen.vram_bytes <= case.vram_limit_bytes
        assert made.chosen.ram_bytes <= case.machine.ram_bytes
        assert made.chosen.workload_s <= plain.chosen.workload_s * (1 + 1e-9)
        if made.streaming is None:
            assert made == plain
            continue
        num_streamed += 1
        assert 1 <= made.streaming.least_rows <= min(512, case.options.prompt_tokens)
        assert made.streaming.num_layers == made.placement.layers_on_gpu.count(False)
    assert num_streamed > NUM_CASES // 50


def test_the_plan_says_what_the_simulator_finds() -> None:
    """For 512 tokens of a prompt in one step, without a draft."""
    rng, num_compared = np.random.default_rng(1), 0
    for _ in range(NUM_CASES):
        case = replace(random_case(rng, most_layers=10, spread=0.5), draft=None)
        made = planned(case)
        if made is None or made.streaming is None:
            continue
        request = Request(prompt_tokens=512, answer_tokens=1, streams_weights=True)
        simulated = simulate_request(case.parts, None, case.machine, made.placement, request)
        assert made.streaming.streamed.seconds(512) == pytest.approx(simulated.prefill_s)
        in_place = replace(request, streams_weights=False)
        simulated = simulate_request(case.parts, None, case.machine, made.placement, in_place)
        assert made.streaming.in_place.seconds(512) == pytest.approx(simulated.prefill_s)
        num_compared += 1
    assert num_compared > NUM_CASES // 50
