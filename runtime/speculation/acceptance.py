"""Which of a node's drafted children the target takes, so that its own distribution comes out.

Each policy answers with a child or, when it takes none, with a token drawn from what is left of the
target's distribution. Whatever the draft, the answer is distributed as the target's p.

A deterministic draft needs neither: the target samples as ever, and a child that it sampled is
accepted; distribution and random numbers are those of plain decoding.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Uniform = Callable[[], float]  # a number in [0, 1)
_BISECTIONS = 60  # halve [1, k] to float64's precision


def accept_by_rejection(
    p: Floats, children: Sequence[tuple[int, Floats]], uniform: Uniform
) -> tuple[int | None, int]:
    """Recursive rejection: (index of the accepted child or None, token).

    p        : (V,) the target's probabilities
    children : in the order in which they were drawn, with the probabilities (V,) that each was
               drawn from: the same for all where tokens may come twice; without those drawn before,
               and renormalised, where they may not
    Child x is accepted with min(1, p(x) / q(x)); else p becomes what q does not cover of it.
    Source: SpecInfer, arXiv:2305.09781, algorithm 2; DySpec, arXiv:2410.11744.
    """
    for index, (token, q) in enumerate(children):
        if uniform() * q[token] < p[token]:
            return index, token
        p = _normalised(np.maximum(p - q, 0.0), p)
    return None, _draw(p, uniform())


def accept_k_sequential(
    p: Floats, children: Sequence[int], q: Floats, uniform: Uniform
) -> tuple[int | None, int]:
    """SpecTr's k-sequential selection among children drawn from the same q, with replacement.

    Child x is accepted with min(1, p(x) / (rho q(x))), with the rho for which as much of p is left
    over as children are rejected. Source: SpecTr, arXiv:2310.15141, algorithm 2.
    """
    k = len(children)
    if k == 0:
        return None, _draw(p, uniform())
    rho = _balanced_rho(p, q, k)
    for index, token in enumerate(children):
        if uniform() * rho * q[token] < p[token]:
            return index, token
    covered = np.minimum(q, p / rho)
    beta = float(covered.sum())
    accepted = (1.0 - (1.0 - beta) ** k) / beta if beta > 0 else 0.0
    return None, _draw(_normalised(np.maximum(p - covered * accepted, 0.0), p), uniform())


def _balanced_rho(p: Floats, q: Floats, k: int) -> float:
    """rho in [1, k] with 1 - (1 - beta(rho))**k = rho beta(rho), beta = sum of min(q, p / rho)."""
    low, high = 1.0, float(k)
    for _ in range(_BISECTIONS):
        rho = 0.5 * (low + high)
        beta = float(np.minimum(q, p / rho).sum())
        if 1.0 - (1.0 - beta) ** k > rho * beta:
            low = rho
        else:
            high = rho
    return high


def _normalised(left: Floats, p: Floats) -> Floats:
    """`left` as probabilities; p where rounding left nothing, since then p and q were the same."""
    total = left.sum()
    return left / total if total > 0 else p


def _draw(p: Floats, uniform: float) -> int:
    cumulative = np.cumsum(p)
    place = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return min(place, int(np.flatnonzero(p)[-1]))
