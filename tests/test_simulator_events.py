"""Works begin when what they wait for has ended and their resource is free, and never before."""

from itertools import pairwise

import numpy as np
import pytest

from slipstream.offload.simulator.event_queue import Work, run_works
from slipstream.offload.simulator.timeline import Timeline


def work(resource: str, seconds: float, *after: int, rank: int = 0) -> Work:
    return Work(resource=resource, what="work", seconds=seconds, after=after, rank=rank)


def times(works: list[Work]) -> dict[int, tuple[float, float]]:
    return {event.work_id: (event.start_s, event.end_s) for event in run_works(works)}


def random_works(rng: np.random.Generator) -> list[Work]:
    works = []
    for work_id in range(int(rng.integers(1, 60))):
        num_awaited = int(rng.integers(0, min(work_id, 3) + 1))
        after = rng.choice(work_id, num_awaited, replace=False).tolist() if num_awaited else []
        resource = str(rng.choice(["cpu", "gpu", "to gpu"]))
        seconds = float(rng.choice([0.0, 1.0, rng.random()]))
        works.append(work(resource, seconds, *after, rank=int(rng.integers(0, 2))))
    return works


def test_works_of_one_resource_take_turns_and_others_go_on() -> None:
    works = [work("cpu", 2), work("cpu", 3), work("gpu", 4), work("gpu", 1, 0)]
    assert times(works) == {0: (0, 2), 1: (2, 5), 2: (0, 4), 3: (4, 5)}


def test_a_work_begins_when_the_last_it_waits_for_has_ended() -> None:
    assert times([work("cpu", 2), work("gpu", 3), work("cpu", 1, 0, 1)])[2] == (3, 4)


def test_the_first_that_was_ready_goes_first_among_those_of_the_least_rank() -> None:
    works = [work("cpu", 5), work("gpu", 2), work("gpu", 3), work("cpu", 1, 2), work("cpu", 1, 1)]
    assert times(works)[4] == (5, 6)  # ready at 2
    assert times(works)[3] == (6, 7)  # ready at 5
    works[4] = work("cpu", 1, 1, rank=1)
    assert times(works)[3] == (5, 6)


def test_a_work_of_less_rank_interrupts_one_of_more() -> None:
    works = [work("gpu", 5, rank=1), work("cpu", 1), work("gpu", 2, 1), work("cpu", 1, 0)]
    events = [(event.work_id, event.start_s, event.end_s) for event in run_works(works)]
    assert events == [(0, 0, 1), (1, 0, 1), (2, 1, 3), (0, 3, 7), (3, 7, 8)]


def test_rules_that_hold_for_all_works() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        works = random_works(rng)
        events = run_works(works)
        assert [event.start_s for event in events] == sorted(event.start_s for event in events)
        starts = {event.work_id: event.start_s for event in reversed(events)}
        ends = {event.work_id: event.end_s for event in events}
        for work_id, each in enumerate(works):
            done_s = sum(event.seconds for event in events if event.work_id == work_id)
            assert done_s == pytest.approx(each.seconds)
            assert all(ends[awaited] <= starts[work_id] for awaited in each.after)
        for resource in ("cpu", "gpu", "to gpu"):
            of_it = [event for event in events if event.resource == resource]
            assert all(first.end_s <= later.start_s for first, later in pairwise(of_it))


def test_no_time_is_lost() -> None:
    """A work begins when it is ready, or else when another one leaves its resource."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        works = random_works(rng)
        events = run_works(works)
        ends = {event.work_id: event.end_s for event in events}
        for event in events:
            ready_s = max((ends[awaited] for awaited in works[event.work_id].after), default=0.0)
            before = [other.end_s for other in events if other.resource == event.resource]
            assert event.start_s == ready_s or event.start_s in before


@pytest.mark.parametrize("bad", [work("cpu", 1, 1), work("cpu", 1, -1), work("cpu", -1.0)])
def test_works_that_can_never_run_are_refused(bad: Work) -> None:
    with pytest.raises(ValueError, match="'work'"):
        run_works([work("cpu", 1), bad])


def test_a_timeline_adds_up() -> None:
    timeline = Timeline.of([work("cpu", 2), work("gpu", 3, 0)])
    assert timeline.end_s == 5
    assert timeline.end_of([0]) == 2
    assert timeline.busy_shares(0, 5) == {"cpu": 0.4, "gpu": 0.6, "to gpu": 0, "to cpu": 0}
    assert timeline.busy_shares(1, 3)["cpu"] == 0.5
    assert timeline.busy_shares(1, 1)["cpu"] == 0
    assert str(timeline).splitlines()[1].strip() == "2000.000 to   5000.000 ms  gpu     work"
    assert Timeline.of([]).end_s == 0
