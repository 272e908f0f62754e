"""The samplers of one request, in their order."""

from collections.abc import Sequence
from random import Random

import numpy as np

from slipstream.runtime.errors import EngineError, OptionError
from slipstream.runtime.sampling.distribution import Distribution
from slipstream.runtime.sampling.filters import min_p, softmax, top_k, top_p, typical
from slipstream.runtime.sampling.options import SamplingOptions
from slipstream.runtime.sampling.penalties import penalised, recent_counts
from slipstream.runtime.sampling.selection import Floats


class Sampler:
    """Turns the logits of one request into its tokens.

    One uniform number is drawn for each sampled token, whatever the options, so two requests with
    the same seed stay in step. Greedy sampling draws none.
    """

    def __init__(self, options: SamplingOptions, *, seed: int, vocab_size: int) -> None:
        """Prepares a request's sampling; `seed` starts its stream of uniform numbers.

        Raises OptionError when `logit_bias` or `stop` names a token outside the vocabulary.
        """
        for name, token_ids in (("logit_bias", options.logit_bias), ("stop", options.stop_ids)):
            outside = [one for one in token_ids if one >= vocab_size]
            if outside:
                raise OptionError(
                    f"{name} names token {min(outside)}, but this model's vocabulary has "
                    f"{vocab_size} tokens: ids 0 to {vocab_size - 1}"
                )
        self.options = options
        self.seed = seed
        self.vocab_size = vocab_size
        self._generator = Random(seed)  # NumPy's takes 6 MB and 20 ms to import
        self._bias_ids = np.array(list(options.logit_bias), dtype=np.int64)
        self._biases = np.array(list(options.logit_bias.values()), dtype=np.float64)

    def distribution(self, logits: Floats, history: Sequence[int]) -> Distribution:
        """The exact distribution that `sample` draws from.

        logits  : (V,) float32, unchanged
        history : the ids of prompt and answer so far, for the penalties
        Raises EngineError for logits that are NaN or infinite, OptionError when `logit_bias` and
        the penalties leave no token.
        """
        adjusted = self._adjusted(logits, history)
        likeliest = _likeliest(adjusted, logits)
        options = self.options
        if options.is_greedy:
            return Distribution.certain(likeliest)
        candidates = top_k(adjusted, options.top_k)
        candidates = typical(candidates, options.typical_p)
        candidates = top_p(candidates, options.top_p)
        candidates = min_p(candidates, options.min_p)
        return softmax(candidates, options.temperature)

    def sample(self, logits: Floats, history: Sequence[int]) -> int:
        """The next token's id; arguments and errors as `distribution` has them."""
        distribution = self.distribution(logits, history)
        if self.options.is_greedy:
            return int(distribution.ids[0])
        return distribution.draw(self._generator.random())

    def _adjusted(self, logits: Floats, history: Sequence[int]) -> Floats:
        """The logits after bias and penalties; the caller's own array where there are none."""
        options = self.options
        if logits.shape != (self.vocab_size,):
            raise EngineError(
                f"the sampler expected logits of shape ({self.vocab_size},), got {logits.shape}"
            )
        if not (self._bias_ids.size or options.has_penalties):
            return logits
        adjusted = logits.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # `_likeliest` finds what went wrong
            adjusted[self._bias_ids] += self._biases
            if options.has_penalties:
                ids, counts = recent_counts(history, options.repeat_last_n)
                adjusted[ids] = penalised(
                    adjusted[ids].astype(np.float64),
                    counts,
                    repeat=options.repeat_penalty,
                    presence=options.presence_penalty,
                    frequency=options.frequency_penalty,
                )
        return adjusted


def _likeliest(adjusted: Floats, logits: Floats) -> int:
    """The lowest id of the largest adjusted logit; raises where no choice has a meaning.

    `argmax` gives the first NaN where there is one, so a look at its one value checks them all.
    """
    token_id = int(np.argmax(adjusted))
    if np.isfinite(adjusted[token_id]):
        return token_id
    raw_id = int(np.argmax(logits))
    if not np.isfinite(logits[raw_id]):
        raise EngineError(
            f"the model's logits must be numbers, but token {raw_id}'s, the largest, is "
            f"{logits[raw_id]}; the model file is damaged or its weights overflow"
        )
    raise OptionError(
        "logit_bias and the penalties must leave a token with a finite logit, but token "
        f"{token_id}'s, the largest, is {adjusted[token_id]}; use milder values or ban fewer tokens"
    )
