"""How much is drafted, on machines and texts that are made up: time is counted, not measured."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import pytest

from slipstream.runtime.speculation import (
    CostlyDrafter,
    Drafter,
    Guess,
    SpeculationState,
    Speculator,
)
from slipstream.runtime.speculation.account import Account
from slipstream.runtime.speculation.step_costs import StepCosts
from support.scripted_drafters import Liar, Oracle

Cost = Callable[[int], float]
TEXT = list(range(1000, 3000))


def flat(rows: int) -> float:
    """A step that hardly costs more with more rows: weights that are read from memory."""
    return 0.1 * (1 + 0.01 * (rows - 1))


def gentle(rows: int) -> float:
    """As measured of a 1.5B model on two cores."""
    return 0.1 * (1 + 0.07 * (rows - 1))


def steep(rows: int) -> float:
    """Each row costs a whole step: nothing can be won."""
    return 0.1 * rows


class Run:
    """Decodes TEXT with the drafters, counting the seconds that steps would take."""

    def __init__(self, drafters: Sequence[Drafter], cost: Cost) -> None:
        self.state = SpeculationState(ops=None)
        self.speculator = Speculator(drafters, self.state)
        self.cost = cost
        self.seconds = 0.0
        self.sizes: list[int] = []  # of the drafts, step by step
        self.at = 10  # tokens of TEXT so far

    def decode(self, tokens: int) -> float:
        """Decode so many tokens at least; seconds for each."""
        start_s, start = self.seconds, self.at
        while self.at - start < tokens:
            tree = self.speculator.draft(TEXT[: self.at], 100)
            step_s = self.cost(1 + len(tree))
            self.seconds += step_s
            self.speculator.took(1 + len(tree), step_s)
            path: list[int] = []
            target = [TEXT[self.at]]
            while (
                node := tree.children.get(path[-1] if path else -1, {}).get(target[-1])
            ) is not None:
                path.append(node)
                target.append(TEXT[self.at + len(path)])
            self.speculator.observe(path, target)
            self.at += len(target)
            self.sizes.append(len(tree))
        return (self.seconds - start_s) / (self.at - start)


def test_what_is_always_right_and_costs_nothing_is_drafted_in_full() -> None:
    run = Run([Oracle(TEXT)], flat)
    run.decode(300)
    assert run.sizes[-1] == 31
    assert run.decode(300) < 0.1 / 20


@pytest.mark.parametrize("cost", [flat, gentle, steep])
def test_lies_cost_less_than_three_percent(cost: Cost) -> None:
    run = Run([Liar(TEXT)], cost)
    assert run.decode(600) < 1.03 * cost(1)


def test_nothing_is_drafted_where_rows_are_dear() -> None:
    run = Run([Oracle(TEXT)], steep)
    assert run.decode(600) < 1.03 * steep(1)
    assert sum(run.sizes[-100:]) <= 2  # tried again now and then


class Fickle(Drafter):
    """Right in some parts of the text only."""

    name: ClassVar[str] = "fickle"

    def __init__(self) -> None:
        self.right = False

    def begin(self, text: Sequence[int]) -> int:
        return len(text)

    def guesses(self, path: tuple[int, ...], state: Any) -> list[Guess]:
        token = TEXT[state] if self.right else 0
        return [Guess(token, (self.name, 0), 0.5, state + 1)]


def test_drafts_come_back_when_they_pay_again() -> None:
    drafter = Fickle()
    run = Run([drafter], gentle)
    run.decode(300)
    assert sum(run.sizes[-50:]) < 5
    drafter.right = True
    run.decode(300)
    assert run.decode(100) < gentle(1) / 3


class Hired(Oracle, CostlyDrafter):
    """An oracle that takes its time."""

    name: ClassVar[str] = "hired"
    PRIOR: ClassVar[float] = 0.8

    def __init__(self, price_s: float) -> None:
        Oracle.__init__(self, TEXT)
        CostlyDrafter.__init__(self)
        self._price_s = price_s
        self.asked = 0

    def price_s(self, path: tuple[int, ...]) -> float:
        return self._price_s

    def catch_up(
        self, text: Sequence[int], tokens_left: int, step_s: Callable[[int], float]
    ) -> bool:
        return True

    def guesses(self, path: tuple[int, ...], state: Any) -> list[Guess]:
        self.asked += 1
        return super().guesses(path, state)


def test_a_costly_drafter_is_asked_where_it_saves_time() -> None:
    cheap, dear = Hired(0.01), Hired(0.2)
    run = Run([cheap], gentle)
    run.decode(200)
    assert cheap.asked > 100
    Run([dear], gentle).decode(200)
    assert dear.asked < 5  # to see what has become of it


def test_a_costly_drafter_is_not_asked_where_another_is_sure() -> None:
    hired = Hired(0.01)
    run = Run([Oracle(TEXT), hired], gentle)
    run.decode(300)
    before = hired.asked
    run.decode(300)
    assert hired.asked - before < 10


def test_what_a_costly_drafter_saves_is_what_no_cheap_one_knew() -> None:
    alone, beside = Hired(0.01), Hired(0.01)
    Run([alone], gentle).decode(300)
    Run([Oracle(TEXT), beside], gentle).decode(300)
    assert alone.account.saved_s(0.1) > 0.05
    assert abs(beside.account.saved_s(0.1)) < 0.01


def test_a_drafter_that_saves_nothing_rests_longer_each_time() -> None:
    account, asked = Account(), []
    for token in range(20_000):
        if account.pay_for(0.0, 100, lambda: 0.5, 1.0):
            account.observe(1, 1.1, 1, 1.0)
            asked.append(token)
        else:
            account.passed(1)
    rests = [after - before - 1 for before, after in pairwise(asked) if after > before + 1]
    assert rests == [256, 512, 1024, 2048, 4096, 8192]
    assert len(asked) < 7 * 100  # as many trials


def test_a_drafter_that_saves_again_goes_on() -> None:
    account = Account()
    assert account.note() == "is being tried"
    account.observe(100, 110.0, 100, 100.0)
    assert not account.pay_for(0.0, 100, lambda: 0.5, 1.0)
    assert account.note().startswith("rests for 256 tokens more: it saved -100.00 ms a token")
    account.passed(10_000)
    assert account.pay_for(40.0, 100, lambda: 0.5, 1.0)  # as expected of a new one
    assert not account.pay_for(60.0, 100, lambda: 0.5, 1.0)
    account.observe(100, 60.0, 50, 50.0)
    assert account.saved_s(1.0) == pytest.approx(0.4)
    assert account.pay_for(34.0, 100, lambda: 0.0, 1.0)
    assert account.note() == "saves 400.00 ms a token"
    assert not account.pay_for(36.0, 100, lambda: 1.0, 1.0)  # and has its rest


def test_steps_beside_others_teach_nothing_about_drafts() -> None:
    """No draft was asked for and no time taken: the one before says nothing of these tokens."""
    run = Run([Oracle(TEXT)], gentle)
    run.decode(100)
    rates, token_s = dict(run.state.rates._counts), run.state.token_s
    run.speculator.observe([], [5])
    run.speculator.observe([], [6])
    assert rates == run.state.rates._counts
    assert token_s == run.state.token_s


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
