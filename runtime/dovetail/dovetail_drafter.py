"""Drafts by a Dovetail draft: it continues the target's hidden states, one step for each node.

What it holds are rows of the text, with the target's own hidden states, and behind them those of
one path of the tree, where each row's hidden state is what the draft itself guessed at the row
before. As with a draft model the likeliest node is continued next, and rows of another path go.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from slipstream.runtime.dovetail.draft import DovetailDraft
from slipstream.runtime.dovetail.waiting_rows import WaitingRows
from slipstream.runtime.models import Array
from slipstream.runtime.speculation.drafter import Guess
from slipstream.runtime.speculation.following_drafter import FollowingDrafter
from slipstream.runtime.speculation.ranked_guesses import NUM_CANDIDATES, ranked_guesses
from slipstream.runtime.speculation.timed_sequence import MOST_TIMED_ROWS

_Path = tuple[int, ...]  # the text's last token, then drafted ones


class DovetailDrafter(FollowingDrafter):
    """One for all requests of a target: it follows the text whose hidden states come last."""

    name: ClassVar[str] = "dovetail"
    PRIOR: ClassVar[float] = 0.6

    def __init__(self, draft: DovetailDraft, vocab_size: int, window: int) -> None:
        """vocab_size : tokens of the target; window : rows that the draft sees"""
        super().__init__(draft.sequence)
        self._draft = draft
        self._vocab_size = vocab_size
        self._window = window
        self._text: Sequence[int] = ()
        self._start = 0  # of the text: hidden states before are not known
        self._rows = 0  # of the text that the draft holds, from `_start` on
        self._waiting = WaitingRows()  # hidden states of the next ones
        self._path: list[int] = []  # drafted tokens whose rows it holds behind those
        self._guessed: dict[_Path, np.ndarray] = {}  # hidden state after each path, (C,)

    @property
    def wants_hidden(self) -> bool:
        return not self.account.rests  # after which it starts with what comes then

    def observe_hidden(self, text: Sequence[int], start: int, hidden: np.ndarray) -> None:
        self._drop_path()
        known = self._start + self._rows + len(self._waiting)
        if text is not self._text:
            # Another request may go on with what this one ended with. The last row's token is the
            # first that it may have otherwise.
            goes_on = len(self._waiting) > 0 and list(self._text[:known]) == list(text[:known])
            self._text = text
            known = known if goes_on else -1
        if start != known:
            self._sequence.truncate(0)
            self._start, self._rows = start, 0
            self._waiting.clear()
        self._waiting.append(hidden)
        if len(self._waiting) > self._window:  # the rows before would not be seen
            dropped = len(self._waiting) - self._window
            self._sequence.truncate(0)
            self._start, self._rows = self._start + self._rows + dropped, 0
            self._waiting.take(dropped)

    def begin(self, text: Sequence[int]) -> None:
        self._drop_path()

    def _lag(self, text: Sequence[int]) -> int | None:
        lag = len(self._waiting)
        if text is not self._text or self._start + self._rows + lag != len(text) - 1 or not lag:
            return None
        return lag

    def _read(self, count: int) -> None:
        self._drop_path()
        self._feed_text(count)

    def price_s(self, path: _Path) -> float | None:
        costs = self._sequence.costs
        if not costs.known:
            return None
        text_s = costs.seconds(min(len(self._waiting), MOST_TIMED_ROWS)) if self._waiting else 0.0
        if len(path) == 1:
            return text_s
        unknown = sum(path[:end] not in self._guessed for end in range(2, len(path)))
        if unknown:  # one step each: what goes in is what came out of the one before
            return text_s + (unknown + 1) * costs.seconds(1)
        return text_s + costs.seconds(min(len(path) - 1 - self._shared(path), MOST_TIMED_ROWS))

    def guesses(self, path: _Path, state: None) -> list[Guess]:
        if self._waiting:
            logits = self._feed_text(len(self._waiting))
        if len(path) > 1:
            logits = self._feed_path(path)
        places, values = self._sequence.likeliest(logits, NUM_CANDIDATES)
        ids = self._draft.head_tokens[places]
        return ranked_guesses(self.name, ids, values, self._vocab_size)

    def _feed_text(self, count: int) -> Array:
        """Rows of the text that wait; logits (1, N) after the last."""
        first = self._start + self._rows + 1
        tokens = self._text[first : first + count]
        logits, guessed = self._draft.feed(self._waiting.take(count), tokens)
        self._rows += count
        self._guessed[tokens[-1],] = guessed
        return logits

    def _feed_path(self, path: _Path) -> Array:
        """Rows of a path's drafted tokens that the draft does not hold; logits after the last."""
        held = self._shared(path)
        self._sequence.truncate(self._rows + held)
        del self._path[held:]
        while True:
            # As many rows at once as have their hidden state; the last is always fed anew.
            end = held + 1
            while end < len(path) - 1 and path[: end + 1] in self._guessed:
                end += 1
            hidden = [self._guessed[path[: place + 1]] for place in range(held, end)]
            logits, guessed = self._draft.feed(np.stack(hidden), path[held + 1 : end + 1])
            self._path += path[held + 1 : end + 1]
            self._guessed[path[: end + 1]] = guessed
            held = end
            if held == len(path) - 1:
                return logits

    def _shared(self, path: _Path) -> int:
        """Drafted tokens of the path that the draft holds, the last one left out."""
        same, drafted = 0, path[1:-1]
        while same < min(len(drafted), len(self._path)) and drafted[same] == self._path[same]:
            same += 1
        return same

    def _drop_path(self) -> None:
        """Forget what was drafted: a tree is over, or not yet begun."""
        self._sequence.truncate(self._rows)
        self._path.clear()
        self._guessed.clear()
