"""Times of steps by their rows."""

import pytest

from slipstream.runtime.speculation.step_costs import StepCosts


def test_costs_between_known_sizes_lie_on_lines_and_forget() -> None:
    costs = StepCosts(32)
    for rows, seconds in ((1, 1.0), (9, 3.0)):
        costs.observe(rows, 50.0)  # the first time of a size, which does not count
        assert not costs.known or rows == 9
        costs.observe(rows, seconds)
    assert costs.seconds(1) == 1.0
    assert costs.seconds(5) == pytest.approx(2.0)
    assert costs.seconds(32) > 3.0
    for _ in range(300):
        costs.observe(1, 1.0)
    assert costs.seconds(9) < 2.0  # as if it had never been tried
    for seconds in (1.0, 9.0, 1.2):
        costs.observe(9, seconds)
    assert costs.seconds(9) == 1.2


def test_a_time_above_that_of_more_rows_does_not_count() -> None:
    costs = StepCosts(32)
    for rows, seconds in ((1, 1.0), (4, 5.0), (8, 3.0)):
        costs.observe(rows, seconds)
        costs.observe(rows, seconds)
    assert costs.seconds(4) == costs.seconds(8) == 3.0
    assert costs.largest_known == 8
