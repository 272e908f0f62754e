"""Log probabilities of the model itself, before any sampler."""

import math
from dataclasses import dataclass

import numpy as np

from slipstream.runtime.errors import EngineError
from slipstream.runtime.sampling.selection import Floats, largest


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """What the model thought of one token and of the likeliest ones in its place.

    token_id, logprob : the token that was chosen, and its natural-log probability
    top_ids           : the likeliest tokens, the likeliest first, equal ones by lower id
    top_logprobs      : their log probabilities
    """

    token_id: int
    logprob: float
    top_ids: tuple[int, ...]
    top_logprobs: tuple[float, ...]


def top_logprobs(logits: Floats, chosen: int, count: int) -> TokenLogprobs:
    """Log probabilities of `chosen` and of the `count` likeliest tokens.

    log p = l - max(l) - log(sum(exp(l - max(l)))), in float64

    logits : (V,) float32, the model's own
    Tokens of probability 0 are not among the likeliest. Raises EngineError for NaN or infinity.
    """
    peak = float(logits.max())
    if not math.isfinite(peak):
        raise EngineError(f"the model's logits must be numbers, but their largest is {peak}")
    shifted = logits.astype(np.float64) - peak
    log_total = math.log(np.exp(shifted).sum())
    top = [int(one) for one in largest(logits, count)] if count else []
    top = [one for one in top if logits[one] > -np.inf]
    return TokenLogprobs(
        token_id=chosen,
        logprob=float(shifted[chosen]) - log_total,
        top_ids=tuple(top),
        top_logprobs=tuple(float(shifted[one]) - log_total for one in top),
    )
