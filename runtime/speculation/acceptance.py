"""Policies that accept guesses drawn from a draft model so that the target's p itself comes out.

A policy draws tokens from the draft's distribution q at one place of a text, and later chooses the
token of that place, one of those drawn or another. Chosen by any policy, it is distributed as p.

Guesses that were not drawn need no policy. Recursive rejection takes them as drawn from a point
mass: each is accepted with what is left of p at it, else it is taken out of p. That is as likely as
drawing from p at once and looking whether the token is among the guesses, which is what is done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slipstream.runtime.sampling import Distribution
from slipstream.runtime.sampling.distribution import drawn_index

Floats = npt.NDArray[np.float64]
Uniform = Callable[[], float]  # a new number in [0, 1)
_BISECTIONS = 24  # of [1, k]: to 1e-7, and what is lost is acceptance, never exactness


class Drawn(NamedTuple):
    """A token, and the distribution that it was drawn from."""

    token: int
    q: Distribution


@dataclass(frozen=True, slots=True)
class AcceptancePolicy:
    """How tokens are drawn, and how the next token is chosen where some were.

    draw   : (q, count, uniform) -> `count` tokens, or all that q has
    accept : (p, drawn, uniform) -> token id, distributed as p; `drawn` in the order of drawing
    """

    draw: Callable[[Distribution, int, Uniform], tuple[Drawn, ...]]
    accept: Callable[[Distribution, Sequence[Drawn], Uniform], int]


def draw_with_replacement(q: Distribution, count: int, uniform: Uniform) -> tuple[Drawn, ...]:
    """Independent draws; a token may come again."""
    return tuple(Drawn(q.draw(uniform()), q) for _ in range(count))


def draw_without_replacement(q: Distribution, count: int, uniform: Uniform) -> tuple[Drawn, ...]:
    """Each from what the ones before it left of q, renormalised."""
    drawn: list[Drawn] = []
    for _ in range(min(count, q.ids.size)):
        token = q.draw(uniform())
        drawn.append(Drawn(token, q))
        others = q.ids != token
        q = Distribution(ids=q.ids[others], probs=q.probs[others] / q.probs[others].sum())
    return tuple(drawn)


def accept_by_rejection(p: Distribution, drawn: Sequence[Drawn], uniform: Uniform) -> int:
    """Recursive rejection, for tokens drawn with or without replacement, and for point masses.

    Token x is accepted with min(1, p(x) / q(x)); else p becomes max(p - q, 0), renormalised.
    Source: SpecInfer, arXiv:2305.09781, algorithm 2; DySpec, arXiv:2410.11744.
    """
    left = p.probs
    for token, q in drawn:
        if uniform() * q.probability(token) < left[p.ids == token].sum():
            return token
        left = _normalised(np.maximum(left - _probabilities(q, p.ids), 0.0), left)
    return _draw(p.ids, left, uniform())


def accept_k_sequential(p: Distribution, drawn: Sequence[Drawn], uniform: Uniform) -> int:
    """SpecTr's k-sequential selection, for tokens drawn from one q with replacement.

    Token x is accepted with min(1, p(x) / (rho q(x))). With b = min(q, p / rho) and beta = sum(b),
    where none of k is accepted the token is drawn from p - b (1 - (1 - beta)**k) / beta.
    Source: SpecTr, arXiv:2310.15141, algorithm 2.
    """
    if not drawn:
        return p.draw(uniform())
    count, q = len(drawn), _probabilities(drawn[0].q, p.ids)
    rho = _smallest_rho(p.probs, q, count)
    for token, its in drawn:
        if uniform() * rho * its.probability(token) < p.probability(token):
            return token
    covered = np.minimum(q, p.probs / rho)
    beta = float(covered.sum())
    times = (1.0 - (1.0 - beta) ** count) / beta if beta > 0 else 0.0
    left = _normalised(np.maximum(p.probs - covered * times, 0.0), p.probs)
    return _draw(p.ids, left, uniform())


POLICIES: Mapping[str, AcceptancePolicy] = {
    "rejection": AcceptancePolicy(draw_without_replacement, accept_by_rejection),
    "spectr": AcceptancePolicy(draw_with_replacement, accept_k_sequential),
}


def _smallest_rho(p: Floats, q: Floats, k: int) -> float:
    """The rho in [1, k] from which on 1 - (1 - beta)**k <= rho beta: no more than p is taken.

    p, q : (N,) of the same tokens
    """
    low, high = 1.0, float(k)
    for _ in range(_BISECTIONS):
        rho = 0.5 * (low + high)
        beta = float(np.minimum(q, p / rho).sum())
        if 1.0 - (1.0 - beta) ** k > rho * beta:
            low = rho
        else:
            high = rho
    return high


def _probabilities(q: Distribution, ids: npt.NDArray[np.int64]) -> Floats:
    """(N,) q's probabilities of the tokens `ids`."""
    dense = np.zeros(1 + max(int(ids.max()), int(q.ids.max())))
    dense[q.ids] = q.probs
    return dense[ids]


def _normalised(left: Floats, before: Floats) -> Floats:
    """`left` with sum 1; `before` where rounding left nothing, since p and q were the same then."""
    total = left.sum()
    return left / total if total > 0 else before


def _draw(ids: npt.NDArray[np.int64], weights: Floats, uniform: float) -> int:
    possible = np.flatnonzero(weights)
    return int(ids[possible[drawn_index(weights[possible], uniform)]])
