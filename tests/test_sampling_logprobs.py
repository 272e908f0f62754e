"""Log probabilities of the model's own distribution."""

import math

import numpy as np
import pytest

from slipstream.runtime.errors import EngineError
from slipstream.runtime.sampling import top_logprobs


@pytest.mark.parametrize("size", [1, 7, 9000])
@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_equal_to_plain_python(size: int, count: int) -> None:
    logits = (np.random.default_rng(size).standard_normal(size) * 4).astype(np.float32)
    peak = float(logits.max())
    total = math.log(math.fsum(math.exp(float(logit) - peak) for logit in logits))
    want = [float(logit) - peak - total for logit in logits]
    likeliest = sorted(range(size), key=lambda token: (-want[token], token))[:count]
    chosen = size // 2
    got = top_logprobs(logits, chosen, count)
    assert got.token_id == chosen
    assert got.logprob == pytest.approx(want[chosen], rel=1e-12)
    assert list(got.top_ids) == likeliest
    assert list(got.top_logprobs) == pytest.approx([want[token] for token in likeliest], rel=1e-12)


def test_probabilities_of_a_small_vocabulary_sum_to_one() -> None:
    got = top_logprobs(np.array([3, -1, 0.5, 0.5], np.float32), 1, 20)
    assert math.fsum(map(math.exp, got.top_logprobs)) == pytest.approx(1, rel=1e-12)
    assert got.top_ids == (0, 2, 3, 1)
    assert got.logprob == got.top_logprobs[3]


def test_equal_logits_of_any_size_are_equally_likely() -> None:
    for value in (0, 1e30, -1e30):
        got = top_logprobs(np.full(8, value, np.float32), 3, 2)
        assert got.logprob == got.top_logprobs[0] == pytest.approx(-math.log(8))


def test_impossible_tokens_are_not_among_the_likeliest() -> None:
    got = top_logprobs(np.array([-np.inf, 2, -np.inf], np.float32), 0, 3)
    assert got.logprob == -math.inf
    assert (got.top_ids, got.top_logprobs) == ((1,), (0.0,))


@pytest.mark.parametrize("bad", [[1, np.nan], [np.inf, 1], [-np.inf, -np.inf]])
def test_logits_that_are_no_numbers_stop_the_engine(bad: list[float]) -> None:
    with pytest.raises(EngineError, match="the model's logits must be numbers"):
        top_logprobs(np.array(bad, np.float32), 0, 1)
