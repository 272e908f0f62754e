"""What every drafter can do: name tokens that may come next."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Guess:
    """A token that may come next.

    kind  : drafter and evidence; guesses of one kind are counted together
    prior : probability to be right, as long as few of the kind were counted
    state : the drafter's own, given back when the guess is itself to be continued
    """

    token: int
    kind: tuple[str, int]
    prior: float
    state: Any = None


class Drafter(ABC):
    """Guesses at a text's continuation, asked node by node."""

    @abstractmethod
    def begin(self, text: Sequence[int]) -> Any:
        """The state at the end of a text: one that grew since the last call, or another."""

    @abstractmethod
    def guesses(self, token: int, state: Any) -> list[Guess]:
        """What may follow `token`, likeliest first, no token twice.

        state : of the end of the text, or of the guess that named `token`; None when only other
                drafters named it
        """

    def observe(self, tokens: Sequence[int], likeliest: np.ndarray, logits: np.ndarray) -> None:
        """Learn from a step: what the target finds likely after each of its M rows.

        likeliest : (M, k) int32, in order
        logits    : (M, k) float32, theirs
        """
