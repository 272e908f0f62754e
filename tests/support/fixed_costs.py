"""Times of steps that stay as they are, whatever is measured."""

from collections.abc import Mapping

from slipstream.runtime.llm import LLM
from slipstream.runtime.speculation import CostlyDrafter
from slipstream.runtime.speculation.step_costs import StepCosts

FREE = {1: 1.0, 32: 1.0}  # each row more costs nothing


def fix_costs(costs: StepCosts, seconds: Mapping[int, float]) -> None:
    """Before any step was timed. seconds : by rows"""
    assert not costs.known
    for rows, taken in seconds.items():
        costs.observe(rows, taken)  # the first time of a size does not count
        costs.observe(rows, taken)
    costs.observe = lambda num_rows, seconds: None  # type: ignore[method-assign]


def seem_worth_it(drafter: CostlyDrafter) -> None:
    """A costly drafter seems to be worth its time, whatever it took and saved."""
    drafter.account.is_worth_reading = lambda *_: True  # type: ignore[method-assign]
    drafter.account.took = lambda *_: None  # type: ignore[method-assign]


def draft_always(llm: LLM, seconds: Mapping[int, float] = FREE) -> None:
    """The model seems to take so long for its steps, and its draft no time."""
    speculation = llm._loaded.speculation
    fix_costs(speculation._state.costs, seconds)
    fix_costs(speculation._costly._sequence.costs, {1: 1e-9, 32: 1e-9})
    seem_worth_it(speculation._costly)
