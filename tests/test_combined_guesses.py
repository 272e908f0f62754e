"""What drafters that agree, or contradict each other, say together."""

import pytest

from slipstream.runtime.speculation.combined_guesses import CombinedGuesses


def combined(*drafters: list[tuple[int, float]]) -> CombinedGuesses:
    guesses = CombinedGuesses()
    for rates in drafters:
        guesses.add(rates)
    return guesses


def test_one_drafter_is_taken_by_its_word() -> None:
    chances = combined([(7, 0.5), (8, 0.3)]).chances()
    assert chances == pytest.approx({7: 0.5, 8: 0.3})


def test_one_who_is_sure_takes_from_the_others_and_not_they_from_it() -> None:
    chances = combined([(7, 0.95)], [(8, 0.3), (9, 0.3)]).chances()
    assert chances[7] == pytest.approx(0.884, abs=0.002)
    assert chances[8] == pytest.approx(chances[9]) == pytest.approx(0.035, abs=0.002)


def test_independent_drafters_are_joined_as_bayes_would() -> None:
    """One of 7, 8 or neither is right; each drafter errs whatever the other does."""
    first, second = 0.6, 0.5
    weights = {7: first * (1 - second), 8: second * (1 - first), None: (1 - first) * (1 - second)}
    whole = sum(weights.values())
    guesses = combined([(7, first)], [(8, second)])
    assert guesses.chances() == pytest.approx({7: weights[7] / whole, 8: weights[8] / whole})
    assert guesses.covered == pytest.approx(1 - weights[None] / whole)


def test_who_agrees_makes_it_surer() -> None:
    assert combined([(7, 0.5)], [(7, 0.5)]).chances()[7] == pytest.approx(0.75)


def test_the_order_of_drafters_does_not_matter() -> None:
    first, second = [(7, 0.5), (8, 0.2)], [(8, 0.6), (9, 0.1)]
    assert combined(first, second).chances() == pytest.approx(combined(second, first).chances())


def test_nobody_is_certain() -> None:
    guesses = combined([(7, 1.0)], [(8, 1.0), (9, 1.0)])
    assert 0.4 < guesses.chances()[7] < 0.98
    assert guesses.covered < 1.0
    assert combined().covered == 0.0
    assert combined([]).chances() == {}
