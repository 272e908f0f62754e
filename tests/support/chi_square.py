"""Whether tokens that were drawn have the distribution that they should have."""

from collections.abc import Sequence

import numpy as np

_SIMULATIONS = 20_000


def chi_square_p(counts: Sequence[np.ndarray], probs: Sequence[np.ndarray]) -> float:
    """The share of exact samples that fit no better: the p-value, by simulation.

    counts, probs : of independent experiments, (N,) each: how often each token came, and should
    Tokens of probability 0 must not have come.
    """
    rng = np.random.default_rng(0)
    found, simulated = 0.0, np.zeros(_SIMULATIONS)
    for seen, p in zip(counts, probs, strict=True):
        if not seen.any():
            continue
        possible = p > 0
        assert seen[~possible].sum() == 0
        expected = p[possible] * seen.sum()
        found += float(((seen[possible] - expected) ** 2 / expected).sum())
        exact = rng.multinomial(seen.sum(), p[possible], size=_SIMULATIONS)
        simulated += ((exact - expected) ** 2 / expected).sum(axis=1)
    return float((simulated >= found).mean())
