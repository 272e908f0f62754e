"""Selection without sorting equals selection by a full, stable sort."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from slipstream.runtime.sampling.selection import descending, largest, leading


def slow_order(scores: np.ndarray) -> list[int]:
    return sorted(range(scores.size), key=lambda index: (-float(scores[index]), index))


def random_scores(seed: int, size: int, levels: int, dtype: type) -> np.ndarray:
    """Scores with many ties (few levels) or few, -0.0 and -inf among them."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal(size) * levels).astype(dtype) / levels
    scores[rng.random(size) < 0.01] = -np.inf
    return scores


CASES = st.builds(
    random_scores,
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1, 7, 500, 2047, 2048, 2049, 4095, 4096, 9001, 12_000]),
    levels=st.sampled_from([1, 10, 10_000]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
RELAXED = settings(max_examples=40, deadline=None)


@RELAXED
@given(scores=CASES)
def test_descending_is_a_stable_sort(scores: np.ndarray) -> None:
    assert descending(scores).tolist() == slow_order(scores)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [9, 9000])
def test_both_zeros_are_equal(dtype: type, size: int) -> None:
    scores = np.zeros(size, dtype)
    scores[::2] = -0.0
    assert descending(scores).tolist() == list(range(size))


def test_extreme_floats_are_in_order() -> None:
    big = np.finfo(np.float32).max
    tiny = np.float32(1e-45)
    extremes = np.array([-np.inf, -big, -1, -tiny, 0, tiny, 1, big], np.float32)
    scores = np.concatenate([np.full(5000, -np.inf, np.float32), extremes])
    assert descending(scores)[:7].tolist() == [5007, 5006, 5005, 5004, 5003, 5002, 5001]


@RELAXED
@given(scores=CASES, count=st.integers(1, 3000))
def test_largest_is_the_head_of_the_order(scores: np.ndarray, count: int) -> None:
    assert largest(scores, count).tolist() == slow_order(scores)[:count]


@pytest.mark.parametrize("make", [np.sort, lambda scores: np.sort(scores)[::-1], np.zeros_like])
def test_largest_on_ordered_and_equal_scores(make) -> None:
    scores = make(np.random.default_rng(3).standard_normal(50_000).astype(np.float32))
    assert largest(scores, 40).tolist() == slow_order(scores)[:40]


@RELAXED
@given(scores=CASES, target=st.floats(0, 1.2))
def test_leading_is_the_shortest_prefix_that_reaches(scores: np.ndarray, target: float) -> None:
    # Multiples of 2**-20 add up without rounding, so both sides meet the target at the same place.
    weights = np.random.default_rng(scores.size).integers(1, 100, scores.size) / 2**20
    order = slow_order(scores)
    want, total = [], 0.0
    for index in order:
        want.append(index)
        total += weights[index]
        if total >= target:
            break
    assert leading(scores, weights, target).tolist() == want


def test_leading_stops_where_the_target_is_met_exactly() -> None:
    scores, quarters = np.array([1.0, 4.0, 3.0, 2.0]), np.full(4, 0.25)
    assert leading(scores, quarters, 0.5).tolist() == [1, 2]
    assert leading(scores, quarters, 0.51).tolist() == [1, 2, 3]


def test_leading_takes_all_when_the_target_is_out_of_reach() -> None:
    scores = np.arange(20_000, dtype=np.float64)
    assert leading(scores, np.full(20_000, 1e-6), 1.0).size == 20_000
