"""Choosing the next token: sampling options, samplers, log probabilities and stop strings.

The samplers run in llama.cpp's default order, each on what the one before it left:

    logit bias -> repeat, presence, frequency penalties -> top-k -> typical -> top-p -> min-p
    -> temperature -> softmax -> one draw
"""

from slipstream.runtime.sampling.distribution import Distribution
from slipstream.runtime.sampling.logprobs import TokenLogprobs, top_logprobs
from slipstream.runtime.sampling.options import SamplingOptions
from slipstream.runtime.sampling.sampler import Sampler
from slipstream.runtime.sampling.stop import StopMatcher

__all__ = [
    "Distribution",
    "Sampler",
    "SamplingOptions",
    "StopMatcher",
    "TokenLogprobs",
    "top_logprobs",
]
