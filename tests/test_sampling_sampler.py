"""The sampler against a slow one in plain Python, and the promises it makes."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from slipstream.runtime.errors import EngineError, OptionError
from slipstream.runtime.sampling import Distribution, Sampler, SamplingOptions

OFF: dict[str, Any] = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
FILTERS = {
    "top_k": {"top_k": 17},
    "typical_p": {"typical_p": 0.6},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.02},
    "temperature": {"temperature": 0.7},
    "hot": {"temperature": 1.9},
    "repeat_penalty": {"repeat_penalty": 1.3},
    "repeat_reward": {"repeat_penalty": 0.7},
    "presence": {"presence_penalty": 0.9},
    "frequency": {"frequency_penalty": -0.4},
    "short_memory": {"repeat_penalty": 1.5, "repeat_last_n": 3},
    "long_memory": {"repeat_penalty": 1.5, "repeat_last_n": -1},
    "bias": {"logit_bias": {3: 4.0, 5: -math.inf, 9: -1.5}},
}


def slow_probs(logits: dict[int, float]) -> dict[int, float]:
    peak = max(logits.values())
    weights = {token: math.exp(value - peak) for token, value in logits.items()}
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def slow_nucleus(logits: dict[int, float], mass: float, score: dict[int, float]) -> set[int]:
    probs, kept, total = slow_probs(logits), set(), 0.0
    for token in sorted(logits, key=lambda token: (-score[token], token)):
        if total >= mass:
            break
        kept.add(token)
        total += probs[token]
    return kept


def slow_adjusted(logits: np.ndarray, history: list[int], options: SamplingOptions) -> list[float]:
    values = [float(logit) for logit in logits]
    for token, bias in options.logit_bias.items():
        values[token] = float(logits.dtype.type(values[token] + bias))
    last_n = len(history) if options.repeat_last_n < 0 else options.repeat_last_n
    for token, count in Counter(history[max(0, len(history) - last_n) :]).items():
        value = values[token]
        value = value / options.repeat_penalty if value > 0 else value * options.repeat_penalty
        value -= options.presence_penalty + options.frequency_penalty * count
        values[token] = float(logits.dtype.type(value))
    return values


def slow_distribution(
    logits: np.ndarray, history: list[int], options: SamplingOptions
) -> dict[int, float]:
    values = slow_adjusted(logits, history, options)
    order = sorted(range(len(values)), key=lambda token: (-values[token], token))
    if options.temperature == 0:
        return {order[0]: 1.0}
    left = {token: values[token] for token in order[: options.top_k or None]}
    left = {token: value for token, value in left.items() if value > -math.inf}
    if options.typical_p < 1:
        surprise = {token: -math.log(prob) for token, prob in slow_probs(left).items()}
        entropy = math.fsum(math.exp(-one) * one for one in surprise.values())
        closeness = {token: -abs(one - entropy) for token, one in surprise.items()}
        kept = slow_nucleus(left, options.typical_p, closeness)
        left = {token: left[token] for token in kept}
    if options.top_p < 1:
        left = {token: left[token] for token in slow_nucleus(left, options.top_p, left)}
    probs = slow_probs(left)
    floor = options.min_p * max(probs.values())
    left = {token: left[token] for token, prob in probs.items() if prob >= floor}
    return slow_probs({token: value / options.temperature for token, value in left.items()})


def make_logits(seed: int, size: int, spread: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def make_sampler(size: int, seed: int = 0, **given: Any) -> Sampler:
    return Sampler(SamplingOptions.from_user(**given), seed=seed, vocab_size=size)


def assert_sound(distribution: Distribution) -> None:
    ids, probs = distribution.ids, distribution.probs
    assert ids.dtype == np.int64
    assert probs.dtype == np.float64
    assert ids.shape == probs.shape
    assert ids.size == np.unique(ids).size > 0
    assert (probs > 0).all()
    assert (np.diff(probs) <= 0).all()
    assert abs(math.fsum(probs) - 1) < 1e-12


def assert_equals_slow(logits: np.ndarray, history: list[int], **given: Any) -> None:
    sampler = make_sampler(logits.size, **given)
    got = sampler.distribution(logits, history)
    assert_sound(got)
    want = slow_distribution(logits, history, sampler.options)
    assert set(got.ids.tolist()) == set(want)
    for token, prob in zip(got.ids.tolist(), got.probs, strict=True):
        assert prob == pytest.approx(want[token], rel=1e-9)


@pytest.mark.parametrize("size", [12, 300, 6000])
@pytest.mark.parametrize("name", FILTERS)
def test_each_sampler_alone_equals_the_slow_one(name: str, size: int) -> None:
    logits = make_logits(len(name), size)
    history = [3, 9, 3, 3, 7, 11, 3, 9, 1]
    assert_equals_slow(logits, history, **{**OFF, **FILTERS[name]})
    alone = make_sampler(size, **OFF)
    changed = make_sampler(size, **{**OFF, **FILTERS[name]})
    before, after = (one.distribution(logits, history) for one in (alone, changed))
    if (name, size) != ("top_k", 12):
        assert before.probs.tolist() != after.probs.tolist()


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(FILTERS, 2)))
def test_samplers_combine_in_order(one: str, other: str) -> None:
    logits = make_logits(1, 200)
    assert_equals_slow(logits, [3, 9, 3, 60, 61], **{**OFF, **FILTERS[one], **FILTERS[other]})


@pytest.mark.parametrize("seed", range(20))
def test_defaults_and_random_options_equal_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = make_logits(seed, int(rng.integers(50, 5000)), spread=float(rng.uniform(0.1, 6)))
    history = rng.integers(0, 50, 100).tolist()
    assert_equals_slow(logits, history)
    given = {name: value for choice in FILTERS.values() for name, value in choice.items()}
    chosen = {name: value for name, value in given.items() if rng.random() < 0.6}
    assert_equals_slow(logits, history, **chosen)


def test_filters_come_before_temperature() -> None:
    # At temperature 10 the four probabilities are near 1/4 each; a nucleus of 0.6 taken after it
    # would keep three of them. Before it, the first alone has 0.64.
    logits = np.log(np.array([0.64, 0.2, 0.1, 0.06], np.float32))
    options = {**OFF, "top_p": 0.6, "temperature": 10}
    assert make_sampler(4, **options).distribution(logits, []).ids.tolist() == [0]


def test_top_k_comes_before_top_p() -> None:
    # Renormalised over the two that top-k keeps, the first has 0.571 and reaches 0.55 alone.
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    options = {**OFF, "top_k": 2, "top_p": 0.55}
    assert make_sampler(4, **options).distribution(logits, []).ids.tolist() == [0]


def test_bias_comes_before_penalties() -> None:
    # -1 + 3 = 2, halved to 1; in the other order -1 * 2 + 3 = 1.
    options = {**OFF, "logit_bias": {0: 4}, "repeat_penalty": 2}
    got = make_sampler(2, **options).distribution(np.array([-1, 0], np.float32), [0])
    assert got.probability(0) == pytest.approx(1 / (1 + math.exp(-1.5)))


@pytest.mark.parametrize("given", [{}, {**OFF}, {**OFF, "typical_p": 0.5}, {"top_k": 0}])
def test_ties_are_broken_by_the_lowest_id(given: dict[str, Any]) -> None:
    got = make_sampler(9000, **given).distribution(np.full(9000, 2.5, np.float32), [])
    assert got.ids.tolist() == list(range(got.ids.size))


def test_greedy_is_the_lowest_id_of_the_largest() -> None:
    logits = np.array([1, 7, 3, 7], np.float32)
    greedy = make_sampler(4, temperature=0, typical_p=0.01, top_p=0.1)
    assert greedy.sample(logits, []) == 1
    assert greedy.distribution(logits, []).probability(1) == 1
    biased = make_sampler(4, temperature=0, logit_bias={1: -1, 2: 4.5})
    assert biased.sample(logits, []) == 2
    assert make_sampler(4, temperature=0, presence_penalty=1).sample(logits, [1]) == 3


def chi_square_p(observed: np.ndarray, expected: np.ndarray) -> float:
    """Upper tail of the chi-square distribution, by Wilson and Hilferty's normal approximation."""
    freedom = observed.size - 1
    statistic = ((observed - expected) ** 2 / expected).sum()
    spread = 2 / (9 * freedom)
    normal = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(normal / math.sqrt(2)) / 2


@pytest.mark.parametrize("given", [{}, {**OFF}, {"temperature": 1.5, "top_p": 0.7}])
def test_samples_follow_the_distribution(given: dict[str, Any]) -> None:
    draws, logits = 12_000, make_logits(4, 60, spread=1.0)
    sampler = make_sampler(60, seed=11, **given)
    distribution = sampler.distribution(logits, [])
    counts = Counter(sampler.sample(logits, []) for _ in range(draws))
    assert set(counts) <= set(distribution.ids.tolist())
    observed = np.array([counts[token] for token in distribution.ids.tolist()])
    assert chi_square_p(observed, distribution.probs * draws) > 0.001
    # The same draws must refute a distribution that is a little flatter, or this test is blind.
    flatter = distribution.probs**0.8
    assert chi_square_p(observed, flatter / flatter.sum() * draws) < 1e-6


def test_same_seed_same_tokens() -> None:
    steps = [make_logits(seed, 500) for seed in range(50)]
    runs = [
        [sampler.sample(step, []) for step in steps]
        for sampler in (make_sampler(500, seed=one, **OFF) for one in (42, 42, 43))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_every_sample_takes_one_uniform_number() -> None:
    # After a step that leaves no choice, and one that leaves all, the streams are still in step.
    certain, open_ = make_sampler(500, seed=5, top_k=1), make_sampler(500, seed=5, **OFF)
    first = make_logits(0, 500)
    certain.sample(first, [])
    open_.sample(first, [])
    certain.options = open_.options
    for seed in range(1, 20):
        step = make_logits(seed, 500)
        assert certain.sample(step, []) == open_.sample(step, [])


def test_greedy_takes_no_uniform_number() -> None:
    sampler, fresh = make_sampler(500, seed=5, temperature=0), make_sampler(500, seed=5, **OFF)
    sampler.sample(make_logits(0, 500), [])
    sampler.options = fresh.options
    steps = [make_logits(seed, 500) for seed in range(20)]
    assert [sampler.sample(one, []) for one in steps] == [fresh.sample(one, []) for one in steps]


def test_distribution_takes_no_uniform_number() -> None:
    asked, fresh = make_sampler(500, seed=5, **OFF), make_sampler(500, seed=5, **OFF)
    for seed in range(20):
        logits = make_logits(seed, 500)
        asked.distribution(logits, [])
        assert asked.sample(logits, []) == fresh.sample(logits, [])


def test_draw_inverts_the_cumulative_distribution() -> None:
    three = Distribution(ids=np.array([8, 2, 5]), probs=np.array([0.5, 0.25, 0.25]))
    uniforms = [0.0, 0.499, 0.5, 0.749, 0.75, math.nextafter(1, 0)]
    assert [three.draw(uniform) for uniform in uniforms] == [8, 8, 2, 2, 5, 5]
    assert three.probability(2) == 0.25
    assert three.probability(3) == 0


@pytest.mark.parametrize("given", [{}, {**OFF}, {"temperature": 0}, {**OFF, "typical_p": 0.3}])
@pytest.mark.parametrize("value", [0.0, 1e30, -1e30, np.finfo(np.float32).max])
def test_a_vocabulary_of_one(value: float, given: dict[str, Any]) -> None:
    sampler = make_sampler(1, **given)
    assert sampler.distribution(np.array([value], np.float32), []).probs.tolist() == [1.0]
    assert sampler.sample(np.array([value], np.float32), [0, 0]) == 0


@pytest.mark.parametrize("given", [{}, {**OFF}, {"top_k": 0}, {**OFF, "typical_p": 0.5}])
def test_extreme_logits(given: dict[str, Any]) -> None:
    inf, big = np.inf, np.finfo(np.float32).max
    alone = make_sampler(4, **given)
    for logits in ([-inf, 1, -inf, -inf], [-1e30, 1e30, 0, 5], [-big, big, -big, 0]):
        got = alone.distribution(np.array(logits, np.float32), [])
        assert_sound(got)
        assert got.ids.tolist() == [1]
    got = make_sampler(4, **OFF).distribution(np.full(4, 1e30, np.float32), [])
    assert got.probs.tolist() == [0.25] * 4


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1e-3])
def test_a_tiny_temperature_is_greedy_up_to_ties(temperature: float) -> None:
    got = make_sampler(4, temperature=temperature)
    probs = got.distribution(np.array([2, 9, -3, 9], np.float32), [])
    assert probs.ids.tolist() == [1, 3]
    assert probs.probs.tolist() == [0.5, 0.5]


def test_a_huge_temperature_is_uniform() -> None:
    got = make_sampler(50, **{**OFF, "temperature": 1e300}).distribution(make_logits(0, 50), [])
    assert np.allclose(got.probs, 1 / 50, rtol=1e-12)


def test_the_callers_logits_are_unchanged() -> None:
    logits = make_logits(0, 5000)
    before = logits.copy()
    logits.flags.writeable = False
    for choice in FILTERS.values():
        make_sampler(5000, **{**OFF, **choice}).sample(logits, [1, 2, 3])
    assert (logits == before).all()


@pytest.mark.parametrize("given", [{}, {"temperature": 0}, {"logit_bias": {2: -math.inf}}])
@pytest.mark.parametrize("bad", [[1, 2, np.nan], [np.nan, 9, 1], [0, 1, np.inf], [-np.inf] * 3])
def test_logits_that_are_no_numbers_stop_the_engine(bad: list[float], given: dict) -> None:
    with pytest.raises(EngineError, match="the model's logits must be numbers, but token"):
        make_sampler(3, **given).sample(np.array(bad, np.float32), [])


@pytest.mark.parametrize(
    "given",
    [
        {"logit_bias": {0: -math.inf, 1: -math.inf}},
        {"logit_bias": {0: 1e39}},
        {"repeat_penalty": 1e-39},
        {"repeat_penalty": 1e-300, "temperature": 0},
    ],
)
def test_options_that_leave_no_token_are_the_callers_error(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="logit_bias and the penalties must leave a token"):
        make_sampler(2, **given).sample(np.array([1, 2], np.float32), [0, 1])


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(OptionError, match=r"logit_bias names token 10, .* ids 0 to 9"):
        make_sampler(10, logit_bias={12: 1, 10: 1})
    with pytest.raises(OptionError, match="stop names token 10"):
        make_sampler(10, stop=[9, 10])


def test_logits_of_another_shape_are_refused() -> None:
    for shape in ((4,), (1, 3), (3, 1)):
        with pytest.raises(EngineError, match=r"expected logits of shape \(3,\), got"):
            make_sampler(3).sample(np.zeros(shape, np.float32), [])


@pytest.mark.parametrize("as_type", [list, tuple, np.array])
def test_history_may_be_any_sequence(as_type: Any) -> None:
    sampler = make_sampler(20, repeat_penalty=1.4, repeat_last_n=4)
    logits, history = make_logits(2, 20), [5, 6, 7, 5, 5, 8]
    got = sampler.distribution(logits, as_type(history))
    assert got.probs.tolist() == sampler.distribution(logits, history[2:]).probs.tolist()
    assert sampler.distribution(logits, as_type([])).ids.size > 0
