"""Filters: each keeps some of the candidate tokens, by their probability among themselves."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from slipstream.runtime.sampling.distribution import Distribution
from slipstream.runtime.sampling.selection import Floats, descending, largest, leading


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The tokens still in the running.

    ids    : (N,) int64, ascending, which makes "equal scores by lower index" mean "by lower id"
    logits : (N,) float32, finite
    """

    ids: npt.NDArray[np.int64]
    logits: Floats

    def keep(self, indexes: npt.NDArray[np.int64]) -> Self:
        """The candidates at `indexes`, whatever the order of these."""
        ascending = np.sort(indexes)
        return type(self)(ids=self.ids[ascending], logits=self.logits[ascending])

    def below_max(self) -> npt.NDArray[np.float64]:
        """(N,) logits less their maximum."""
        shifted = self.logits.astype(np.float64)
        shifted -= self.logits.max()
        return shifted

    def log_probs(self) -> npt.NDArray[np.float64]:
        """(N,) log softmax of the logits."""
        shifted = self.below_max()
        shifted -= math.log(np.exp(shifted).sum())
        return shifted


def top_k(logits: Floats, k: int) -> Candidates:
    """The k largest logits of the vocabulary as candidates; k = 0 keeps all.

    Tokens with a logit of -inf can't be chosen and are never kept.

    logits : (V,) float32, no NaN or +inf, at least one finite
    Source: arXiv:1805.04833.
    """
    ids = np.sort(largest(logits, k)) if 0 < k < logits.size else np.arange(logits.size)
    kept = logits[ids] if ids.size < logits.size else logits
    possible = kept > -np.inf
    if not possible.all():
        ids, kept = ids[possible], kept[possible]
    return Candidates(ids=ids, logits=kept)


def typical(candidates: Candidates, mass: float) -> Candidates:
    """The fewest candidates, those of most typical information first, with `mass` between them.

    H = -sum(p * log p);  in ascending order of |-log p - H|, until sum(p) >= mass

    Source: arXiv:2202.00666 (locally typical sampling). 1 keeps all.
    """
    if mass >= 1:
        return candidates
    log_probs = candidates.log_probs()
    probs = np.exp(log_probs)
    entropy = -(probs * log_probs).sum()
    return candidates.keep(leading(-np.abs(-log_probs - entropy), probs, mass))


def top_p(candidates: Candidates, mass: float) -> Candidates:
    """The nucleus: the fewest candidates, the likeliest first, with `mass` between them.

    in descending order of p, until sum(p) >= mass

    Source: arXiv:1904.09751, section 3.1. 1 keeps all.
    """
    if mass >= 1:
        return candidates
    return candidates.keep(leading(candidates.logits, np.exp(candidates.log_probs()), mass))


def min_p(candidates: Candidates, fraction: float) -> Candidates:
    """The candidates at least `fraction` as likely as the likeliest.

    p >= fraction * max(p), which is  l - max(l) >= log(fraction)

    Source: arXiv:2407.01082. 0 keeps all.
    """
    if fraction <= 0:
        return candidates
    return candidates.keep(np.flatnonzero(candidates.below_max() >= math.log(fraction)))


def softmax(candidates: Candidates, temperature: float) -> Distribution:
    """The distribution over the candidates at a temperature above 0.

    p = exp((l - max(l)) / temperature), divided by its sum

    Tokens whose probability is too small for float64 are left out. Source: arXiv:1503.02531, eq. 1.
    """
    order = descending(candidates.logits)
    below_max = candidates.below_max()[order]
    with np.errstate(over="ignore"):  # a tiny temperature: -inf, which gives 0
        weights = np.exp(below_max / temperature)
        probs = weights / weights.sum()
    possible = int(np.count_nonzero(probs))
    return Distribution(ids=candidates.ids[order[:possible]], probs=probs[:possible])
