"""Drafters that know the answer, that are always wrong, or that guess."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from slipstream.runtime.speculation import Drafter, Guess


class Oracle(Drafter):
    """Replays a known answer."""

    name: ClassVar[str] = "oracle"

    def __init__(self, answer: Sequence[int]) -> None:
        """answer : prompt and all"""
        self._answer = answer

    def begin(self, text: Sequence[int]) -> int:
        return len(text)

    def guesses(self, path: tuple[int, ...], state: Any) -> list[Guess]:
        if state is None or state >= len(self._answer):
            return []
        return [Guess(self._answer[state], (self.name, 0), 0.95, state + 1)]


class Liar(Oracle):
    """Sure of tokens that are never right."""

    name: ClassVar[str] = "liar"

    def guesses(self, path: tuple[int, ...], state: Any) -> list[Guess]:
        return [
            guess._replace(token=guess.token - 1 if guess.token else 1, kind=(self.name, 0))
            for guess in super().guesses(path, state)
        ]


class RandomDrafter(Drafter):
    """Three tokens of the vocabulary, with any certainty."""

    name: ClassVar[str] = "random"

    def __init__(self, vocab_size: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._vocab_size = vocab_size

    def begin(self, text: Sequence[int]) -> None:
        return None

    def guesses(self, path: tuple[int, ...], state: None) -> list[Guess]:
        tokens = self._rng.choice(self._vocab_size, 3, replace=False).tolist()
        chances = self._rng.random(3).tolist()
        return [
            Guess(token, (self.name, i), chance)
            for i, (token, chance) in enumerate(zip(tokens, chances, strict=True))
        ]
