"""Drafts by a smaller model: its likeliest tokens, one step of it for each node that is continued.

The node that is worth most is continued next, so the tree is mostly a trunk with leaves: its KV
cache is cut back to where the path to another node parts, and what is missing of that is fed.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from slipstream.runtime.models import Array
from slipstream.runtime.speculation.draft_model import DraftModel
from slipstream.runtime.speculation.drafter import Guess
from slipstream.runtime.speculation.following_drafter import FollowingDrafter
from slipstream.runtime.speculation.ranked_guesses import NUM_CANDIDATES, ranked_guesses
from slipstream.runtime.speculation.timed_sequence import MOST_TIMED_ROWS


class ModelDrafter(FollowingDrafter):
    """One for all requests of a target: it follows whichever text it is asked about."""

    name: ClassVar[str] = "model"
    PRIOR: ClassVar[float] = 0.75

    def __init__(self, model: DraftModel, vocab_size: int) -> None:
        """vocab_size : of the target; the draft may know more tokens"""
        super().__init__(model.sequence)
        self._model = model
        self._vocab_size = vocab_size
        self._text: Sequence[int] = ()
        self._length = 0  # of the text; tokens may since have come to it
        self.agreed = 0  # tokens of the text that the draft holds

    def begin(self, text: Sequence[int]) -> None:
        self.follow(text, len(text))

    def follow(self, text: Sequence[int], length: int) -> None:
        """As `begin` for the first `length` tokens of a text, to which some may come meanwhile.

        Finds how much of it the draft holds: what it held of this one, or a prefix of another.
        """
        held = self._model.tokens
        same = 0 if text is not self._text else min(self.agreed, len(held))
        self._text, self._length = text, length
        most = min(len(held), length)
        while same < most and held[same] == text[same]:
            same += 1
        self.agreed = min(same, length)

    def _lag(self, text: Sequence[int]) -> int:
        self.begin(text)
        return self._length - self.agreed

    def _read(self, count: int) -> None:
        self._model.truncate(self.agreed)
        self._model.feed(self._text[self.agreed : self.agreed + count])
        self.agreed += count

    def price_s(self, path: tuple[int, ...]) -> float | None:
        costs = self._sequence.costs
        if not costs.known:
            return None
        rows = self._length + len(path) - 1 - self._held(path)
        return costs.seconds(min(rows, MOST_TIMED_ROWS))

    def guesses(self, path: tuple[int, ...], state: None) -> list[Guess]:
        ids, logits = self._sequence.likeliest(self._fed(path), NUM_CANDIDATES)
        return ranked_guesses(self.name, ids, logits, self._vocab_size)

    def logits(self, path: tuple[int, ...]) -> np.ndarray:
        """What the draft expects after a path: (1, tokens that its head is for), till fed again."""
        return self._sequence.to_host(self._fed(path))

    def _fed(self, path: tuple[int, ...]) -> Array:
        """As `logits`, on the draft's device."""
        held = self._held(path)
        self._model.truncate(held)
        length = self._length
        drafted = [*self._text[held:length], *path[1 + max(0, held - length) :]]
        self.agreed = min(length, held + len(drafted))
        return self._model.feed(drafted)

    def _held(self, path: tuple[int, ...]) -> int:
        """Tokens of text and path that the draft holds, the last one left out: it is fed anew."""
        length = self._length
        if self.agreed < length or len(path) == 1:
            return min(self.agreed, length - 1)
        held, drafted = self._model.tokens, path[1:]
        same = 0
        while (
            same < len(drafted) - 1
            and length + same < len(held)
            and held[length + same] == drafted[same]
        ):
            same += 1
        return length + same
