"""Prompts are streamed where that is planned to pay, until measurements say otherwise."""

from slipstream.offload.placement.streaming_plan import StepLine, StreamingPlan
from slipstream.runtime.engine.streaming_choice import StreamingChoice

PLAN = StreamingPlan(
    least_rows=101,
    num_layers=20,
    vram_bytes=0,
    in_place=StepLine(fixed_s=0.0, row_s=0.010),
    streamed=StepLine(fixed_s=0.9, row_s=0.001),
)


def test_it_begins_with_the_plan() -> None:
    choice = StreamingChoice(PLAN)
    assert [choice.pays(rows) for rows in (32, 99, 101, 512)] == [False, False, True, True]
    assert choice.least_rows(512) == PLAN.least_rows
    assert choice.least_rows(64) is None


def test_it_follows_what_steps_take() -> None:
    """A link half as fast, then a CPU four times as fast."""
    choice = StreamingChoice(PLAN)
    for _ in range(20):
        choice.observe(512, 2 * PLAN.streamed.seconds(512), streamed=True)
    assert choice.least_rows(512) in (225, 226)  # 2 (0.9 + 0.001 n) < 0.010 n
    for _ in range(20):
        choice.observe(128, 0.25 * PLAN.in_place.seconds(128), streamed=False)
    assert not choice.pays(512)


def test_what_was_slow_once_is_tried_again() -> None:
    choice = StreamingChoice(PLAN)
    choice.observe(512, 60.0, streamed=True)
    assert not choice.pays(512)
    for _ in range(40):
        choice.observe(128, PLAN.in_place.seconds(128), streamed=False)
    assert choice.pays(512)


def test_a_prompt_saves_in_whole_steps_and_in_a_long_rest() -> None:
    whole = PLAN.in_place.seconds(512) - PLAN.streamed.seconds(512)
    rest = PLAN.in_place.seconds(200) - PLAN.streamed.seconds(200)
    assert PLAN.saved_s(100) == 0
    assert PLAN.saved_s(512 + 100) == whole
    assert PLAN.saved_s(2 * 512 + 200) == 2 * whole + rest
