"""Every acceptance policy gives the target's own distribution, and a broken one is seen."""

from collections.abc import Callable

import numpy as np
import pytest

from slipstream.runtime.speculation.acceptance import accept_by_rejection, accept_k_sequential

DRAWS = 100_000
LEAST_P = 0.001
TARGET = np.array([0.35, 0.25, 0.15, 0.1, 0.08, 0.05, 0.02, 0.0])
DRAFT = np.array([0.05, 0.3, 0.05, 0.2, 0.1, 0.1, 0.1, 0.1])
NUM_CHILDREN = 3

Policy = Callable[[np.random.Generator], int]


def drawn(q: np.ndarray, rng: np.random.Generator) -> int:
    return int(np.searchsorted(np.cumsum(q), rng.random() * q.sum(), side="right"))


def with_replacement(rng: np.random.Generator) -> int:
    children = [(drawn(DRAFT, rng), DRAFT) for _ in range(NUM_CHILDREN)]
    return accept_by_rejection(TARGET, children, rng.random)[1]


def without_replacement(rng: np.random.Generator) -> int:
    children, q = [], DRAFT
    for _ in range(NUM_CHILDREN):
        token = drawn(q, rng)
        children.append((token, q))
        q = q.copy()
        q[token] = 0.0
        q /= q.sum()
    return accept_by_rejection(TARGET, children, rng.random)[1]


def deterministic(rng: np.random.Generator) -> int:
    children = [(token, np.eye(len(TARGET))[token]) for token in (1, 0, 6)]
    return accept_by_rejection(TARGET, children, rng.random)[1]


def k_sequential(rng: np.random.Generator) -> int:
    children = [drawn(DRAFT, rng) for _ in range(NUM_CHILDREN)]
    return accept_k_sequential(TARGET, children, DRAFT, rng.random)[1]


def broken(rng: np.random.Generator) -> int:
    """After a rejection draws from the target again, not from what is left of it."""
    children = [(drawn(DRAFT, rng), DRAFT)]
    index, token = accept_by_rejection(TARGET, children, rng.random)
    return token if index is not None else drawn(TARGET, rng)


def p_value(policy: Policy) -> float:
    """Of a chi-square test of `DRAWS` tokens against the target."""
    rng = np.random.default_rng(7)
    counts = np.bincount([policy(rng) for _ in range(DRAWS)], minlength=len(TARGET))
    possible = TARGET > 0
    assert counts[~possible].sum() == 0
    expected = TARGET[possible] * DRAWS
    statistic = float(((counts[possible] - expected) ** 2 / expected).sum())
    simulated = rng.multinomial(DRAWS, TARGET[possible], size=20_000)
    statistics = ((simulated - expected) ** 2 / expected).sum(axis=1)
    return float((statistics >= statistic).mean())


@pytest.mark.parametrize(
    "policy", [with_replacement, without_replacement, deterministic, k_sequential]
)
def test_the_targets_distribution_comes_out(policy: Policy) -> None:
    assert p_value(policy) > LEAST_P


def test_a_broken_policy_is_seen() -> None:
    assert p_value(broken) < LEAST_P


def test_k_sequential_accepts_as_often_as_it_should() -> None:
    """p = [1, 0], q = [1/2, 1/2], k = 2: three in four. Without replacement it is always."""
    p, q = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    rng = np.random.default_rng(3)
    accepted = 0
    for _ in range(20_000):
        children = [drawn(q, rng) for _ in range(2)]
        accepted += accept_k_sequential(p, children, q, rng.random)[0] is not None
    assert accepted / 20_000 == pytest.approx(0.75, abs=0.01)


def test_one_child_is_plain_speculative_sampling() -> None:
    """With the same random numbers, k = 1 accepts what rejection accepts."""
    for seed in range(2_000):
        a, b = np.random.default_rng(seed), np.random.default_rng(seed)
        child = drawn(DRAFT, np.random.default_rng(seed + 10_000))
        assert accept_k_sequential(TARGET, [child], DRAFT, a.random) == accept_by_rejection(
            TARGET, [(child, DRAFT)], b.random
        )
