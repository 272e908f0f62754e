"""Drafts from what the target last found likely after the same token.

Source: Token Recycling, arXiv:2408.08696. There the tree is a fixed template of 80 nodes, and the
matrix starts anew for each process; here rates measured by rank and by the lead of the first
candidate over the second decide what is drafted.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from slipstream.runtime.speculation.drafter import NUM_LIKELIEST, Drafter, Guess

_LEADS = (0.5, 1.0, 2.0, 4.0, 8.0)  # logits; a class of guesses between any two
_UNKNOWN = -1
_PRIORS = (0.35, 0.12, 0.06, 0.04, 0.03, 0.02, 0.015, 0.01)  # by rank


class TokenRecycling(Drafter):
    """Eight candidates for each token of the vocabulary; one for all requests of a model."""

    name: ClassVar[str] = "recycling"
    wants_likeliest: ClassVar[bool] = True

    def __init__(self, vocab_size: int) -> None:
        self._candidates = np.empty((vocab_size, NUM_LIKELIEST), np.int32)  # of known leads
        self._lead = np.full(vocab_size, _UNKNOWN, np.int8)  # class of the lead
        self._evidence = [  # by lead: kind and prior by rank
            [
                ((self.name, rank * (len(_LEADS) + 1) + lead), _PRIORS[rank])
                for rank in range(NUM_LIKELIEST)
            ]
            for lead in range(len(_LEADS) + 1)
        ]

    def begin(self, text: Sequence[int]) -> None:
        return None

    def guesses(self, path: tuple[int, ...], state: None) -> list[Guess]:
        token, vocab_size = path[-1], len(self._candidates)
        if token >= vocab_size or self._lead[token] == _UNKNOWN:
            return []
        candidates = self._candidates[token].tolist()
        evidence = self._evidence[self._lead[token]]
        return [
            Guess(candidate, kind, prior)
            for candidate, (kind, prior) in zip(candidates, evidence, strict=True)
            if 0 <= candidate < vocab_size  # padded embeddings have more, rows of NaN have -1
        ]

    def observe(self, tokens: Sequence[int], likeliest: np.ndarray, logits: np.ndarray) -> None:
        """As `Drafter.observe`; of rows with the same token the last one counts."""
        leads = np.searchsorted(_LEADS, logits[:, 0] - logits[:, 1])
        for m, token in enumerate(tokens):  # in order: an assignment of all would leave it open
            if token < len(self._candidates):  # embeddings may be padded beyond the tokens
                self._candidates[token] = likeliest[m]
                self._lead[token] = leads[m]
