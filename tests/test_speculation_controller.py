"""How much is drafted, on machines and texts that are made up: time is counted, not measured."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from slipstream.runtime.speculation import (
    CostlyDrafter,
    Drafter,
    Guess,
    SpeculationState,
    Speculator,
)
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

    @property
    def link_bytes(self) -> int:
        return 0

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


def test_steps_beside_others_teach_nothing_about_drafts() -> None:
    """No draft was asked for and no time taken: the one before says nothing of these tokens."""
    run = Run([Oracle(TEXT)], gentle)
    run.decode(100)
    rates, token_s = dict(run.state.rates._counts), run.state.token_s
    run.speculator.observe([], [5])
    run.speculator.observe([], [6])
    assert rates == run.state.rates._counts
    assert token_s == run.state.token_s
