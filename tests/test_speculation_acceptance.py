"""Every acceptance policy gives the target's own distribution, and a broken one is seen."""

from collections.abc import Callable
from random import Random

import numpy as np
import pytest

from slipstream.runtime.sampling import Distribution
from slipstream.runtime.speculation import ACCEPTANCES, MATCH
from slipstream.runtime.speculation.acceptance import (
    POLICIES,
    Drawn,
    accept_by_rejection,
    accept_k_sequential,
    draw_with_replacement,
    draw_without_replacement,
)
from support.chi_square import chi_square_p

DRAWS = 100_000
LEAST_P = 0.001
NUM_CHILDREN = 3
PROBS = np.array([0.35, 0.25, 0.15, 0.1, 0.08, 0.05, 0.02, 0.0])


def distribution(probs: np.ndarray) -> Distribution:
    ids = np.argsort(-probs, kind="stable")[: np.count_nonzero(probs)]
    return Distribution(ids=ids, probs=probs[ids])


TARGET = distribution(PROBS)
DRAFT = distribution(np.array([0.05, 0.3, 0.0, 0.2, 0.15, 0.1, 0.1, 0.1]))

Tokens = Callable[[Random], int]


def match(rng: Random) -> int:
    return TARGET.draw(rng.random())


def rejection_with_replacement(rng: Random) -> int:
    drawn = draw_with_replacement(DRAFT, NUM_CHILDREN, rng.random)
    return accept_by_rejection(TARGET, drawn, rng.random)


def rejection_without_replacement(rng: Random) -> int:
    drawn = draw_without_replacement(DRAFT, NUM_CHILDREN, rng.random)
    return accept_by_rejection(TARGET, drawn, rng.random)


def rejection_of_point_masses(rng: Random) -> int:
    sure = [Drawn(token, Distribution.certain(token)) for token in (1, 0, 6)]
    return accept_by_rejection(TARGET, sure, rng.random)


def rejection_of_drawn_and_sure(rng: Random) -> int:
    """Among the sure tokens are such as may have been drawn too."""
    drawn = draw_without_replacement(DRAFT, 2, rng.random)
    sure = [Drawn(token, Distribution.certain(token)) for token in (1, 2)]
    return accept_by_rejection(TARGET, [*drawn, *sure], rng.random)


def k_sequential(rng: Random) -> int:
    drawn = draw_with_replacement(DRAFT, NUM_CHILDREN, rng.random)
    return accept_k_sequential(TARGET, drawn, rng.random)


def broken_remainder(rng: Random) -> int:
    """After a rejection draws from the target again, not from what is left of it."""
    drawn = draw_without_replacement(DRAFT, 1, rng.random)
    token = accept_by_rejection(TARGET, drawn, rng.random)
    return token if token == drawn[0].token else TARGET.draw(rng.random())


def broken_cut(rng: Random) -> int:
    """Drops children that do not look good before it chooses among those that are left."""
    drawn = draw_without_replacement(DRAFT, NUM_CHILDREN, rng.random)
    likely = [each for each in drawn if DRAFT.probability(each.token) > 0.12]
    return accept_by_rejection(TARGET, likely, rng.random)


def broken_order(rng: Random) -> int:
    """Takes the likeliest child first, not the one that was drawn first."""
    drawn = draw_with_replacement(DRAFT, NUM_CHILDREN, rng.random)
    likeliest_first = sorted(drawn, key=lambda each: -DRAFT.probability(each.token))
    return accept_by_rejection(TARGET, likeliest_first, rng.random)


def p_value(tokens: Tokens) -> float:
    rng = Random(7)
    counts = np.bincount([tokens(rng) for _ in range(DRAWS)], minlength=len(PROBS))
    return chi_square_p([counts], [PROBS])


@pytest.mark.parametrize(
    "tokens",
    [
        match,
        rejection_with_replacement,
        rejection_without_replacement,
        rejection_of_point_masses,
        rejection_of_drawn_and_sure,
        k_sequential,
    ],
)
def test_the_target_s_distribution_comes_out(tokens: Tokens) -> None:
    assert p_value(tokens) > LEAST_P


@pytest.mark.parametrize("tokens", [broken_remainder, broken_cut, broken_order])
def test_a_broken_policy_is_seen(tokens: Tokens) -> None:
    assert p_value(tokens) < LEAST_P


def test_there_is_a_policy_for_each_name_and_none_for_match() -> None:
    assert {MATCH, *POLICIES} == set(ACCEPTANCES)
    for policy in POLICIES.values():
        for uniform in (0.0, 0.3, 0.999):
            assert policy.accept(TARGET, (), lambda: uniform) == TARGET.draw(uniform)  # noqa: B023


def test_what_is_drawn_without_replacement_comes_once_and_is_all_at_the_most() -> None:
    rng = Random(1)
    for _ in range(100):
        drawn = draw_without_replacement(DRAFT, 20, rng.random)
        assert sorted(token for token, _ in drawn) == sorted(DRAFT.ids)
        for index, (token, q) in enumerate(drawn):
            assert q.probability(token) > 0
            assert q.probs.sum() == pytest.approx(1.0)
            assert not {earlier for earlier, _ in drawn[:index]} & set(q.ids.tolist())


@pytest.mark.parametrize(
    ("draw", "accept", "share"),
    [
        (draw_without_replacement, accept_by_rejection, 1.0),
        (draw_with_replacement, accept_by_rejection, 0.75),
        (draw_with_replacement, accept_k_sequential, 0.75),
    ],
)
def test_how_much_of_two_children_is_accepted(draw, accept, share: float) -> None:
    """p = [1, 0], q = [1/2, 1/2]. Source: Sequoia, arXiv:2402.12374."""
    p, q = distribution(np.array([1.0, 0.0])), distribution(np.array([0.5, 0.5]))
    rng, accepted = Random(3), 0
    for _ in range(20_000):
        drawn = draw(q, 2, rng.random)
        accepted += accept(p, drawn, rng.random) in [token for token, _ in drawn]
    assert accepted / 20_000 == pytest.approx(share, abs=0.01)


def test_one_child_is_plain_speculative_sampling_by_any_policy() -> None:
    for seed in range(2_000):
        drawn = draw_with_replacement(DRAFT, 1, Random(seed + 10_000).random)
        assert accept_k_sequential(TARGET, drawn, Random(seed).random) == accept_by_rejection(
            TARGET, drawn, Random(seed).random
        )


@pytest.mark.parametrize("name", POLICIES)
def test_a_draft_that_is_the_target_is_always_accepted(name: str) -> None:
    rng, policy = Random(5), POLICIES[name]
    for _ in range(1_000):
        drawn = policy.draw(TARGET, 3, rng.random)
        assert policy.accept(TARGET, drawn, rng.random) == drawn[0].token


@pytest.mark.parametrize("name", POLICIES)
def test_a_draft_that_has_nothing_of_the_target(name: str) -> None:
    rng, policy = Random(5), POLICIES[name]
    other = Distribution(ids=np.array([90, 91]), probs=np.array([0.5, 0.5]))
    for _ in range(200):
        drawn = policy.draw(other, 3, rng.random)
        assert policy.accept(TARGET, drawn, rng.random) in TARGET.ids
