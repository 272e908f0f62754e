"""A draft's likeliest tokens as guesses, whose evidence is how sure the draft was."""

from bisect import bisect

import numpy as np

from slipstream.runtime.speculation.drafter import Guess

NUM_CANDIDATES = 8  # that probabilities are shared among
_NUM_GUESSES = 4
_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)  # class between two


def ranked_guesses(name: str, ids: np.ndarray, logits: np.ndarray, vocab_size: int) -> list[Guess]:
    """The first of a draft's candidates that the target knows, too.

    name   : of the drafter; its first guesses are counted apart from its others
    ids    : (N,) int32, likeliest first; -1 where a logit is NaN
    logits : (N,) float32, theirs
    Empty where logits are not finite: of a damaged draft, or of one with nearly no tokens.
    """
    if not np.isfinite(logits).all():
        return []
    weights = np.exp(logits - logits[0])
    shares = (weights / weights.sum()).tolist()
    return [
        Guess(token, (name if rank == 0 else f"{name}'s others", bisect(_SHARES, share)), share)
        for rank, (token, share) in enumerate(zip(ids.tolist(), shares, strict=True))
        if 0 <= token < vocab_size
    ][:_NUM_GUESSES]
