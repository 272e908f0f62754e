"""The samplers against llama.cpp's own, one at a time and in its default chain."""

import ctypes
import math
from typing import Any

import numpy as np
import pytest

from slipstream.runtime.sampling import Sampler, SamplingOptions

llama = pytest.importorskip("llama_cpp.llama_cpp", reason="llama-cpp-python is not installed")
pytestmark = pytest.mark.llamacpp

OFF: dict[str, Any] = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "off": {**OFF},
    "bias": {**OFF, "logit_bias": {3: 4.0, 5: -math.inf, 9: -1.5}},
    "repeat": {**OFF, "repeat_penalty": 1.3},
    "presence": {**OFF, "presence_penalty": 0.9},
    "frequency": {**OFF, "frequency_penalty": 0.3, "repeat_last_n": 5},
    "top_k": {**OFF, "top_k": 30},
    "typical": {**OFF, "typical_p": 0.7},
    "top_p": {**OFF, "top_p": 0.8},
    "min_p": {**OFF, "min_p": 0.02},
    "temperature": {**OFF, "temperature": 1.6},
    "all": {
        "temperature": 0.7,
        "top_k": 60,
        "typical_p": 0.9,
        "repeat_penalty": 1.2,
        "presence_penalty": 0.4,
        "frequency_penalty": -0.2,
        "logit_bias": {3: 4.0, 5: -math.inf},
    },
}


def make_chain(options: SamplingOptions, vocab_size: int) -> Any:
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    biases = (llama.llama_logit_bias * max(1, len(options.logit_bias)))(
        *(llama.llama_logit_bias(token, bias) for token, bias in options.logit_bias.items())
    )
    for sampler in (
        llama.llama_sampler_init_logit_bias(vocab_size, len(options.logit_bias), biases),
        llama.llama_sampler_init_penalties(
            vocab_size,
            options.repeat_last_n,
            options.repeat_penalty,
            options.frequency_penalty,
            options.presence_penalty,
        ),
        llama.llama_sampler_init_top_k(options.top_k),
        llama.llama_sampler_init_typical(options.typical_p, 1),
        llama.llama_sampler_init_top_p(options.top_p, 1),
        llama.llama_sampler_init_min_p(options.min_p, 1),
        llama.llama_sampler_init_temp(options.temperature),
    ):
        llama.llama_sampler_chain_add(chain, sampler)
    return chain


def llama_distribution(
    logits: np.ndarray, history: list[int], options: SamplingOptions
) -> dict[int, float]:
    chain = make_chain(options, logits.size)
    try:
        for token in history:
            llama.llama_sampler_accept(chain, token)
        data = (llama.llama_token_data * logits.size)(
            *(
                llama.llama_token_data(token, float(logit), 0.0)
                for token, logit in enumerate(logits)
            )
        )
        array = llama.llama_token_data_array(data=data, size=logits.size, selected=-1, sorted=False)
        llama.llama_sampler_apply(chain, ctypes.byref(array))
        kept = {array.data[row].id: array.data[row].logit for row in range(array.size)}
    finally:
        llama.llama_sampler_free(chain)
    peak = max(kept.values())
    weights = {token: math.exp(logit - peak) for token, logit in kept.items()}
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items() if weight > 0}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_distribution_is_llama_cpps(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(5000) * 3).astype(np.float32)
    # Token 3 several times, recently and long ago; more tokens than the window of 64 holds.
    history = [3, 3, *rng.integers(0, 5000, 80).tolist(), 3, 9, 3]
    options = SamplingOptions.from_user(**CASES[name])
    want = llama_distribution(logits, history, options)
    got = Sampler(options, seed=0, vocab_size=5000).distribution(logits, history)
    assert set(got.ids.tolist()) == set(want)
    for token, prob in zip(got.ids.tolist(), got.probs, strict=True):
        assert prob == pytest.approx(want[token], rel=1e-5)
