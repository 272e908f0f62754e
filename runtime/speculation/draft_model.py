"""A second, smaller model that runs ahead of the target, with a KV cache of its own."""

from collections.abc import Sequence

from slipstream.runtime.models import Array
from slipstream.runtime.speculation.timed_sequence import TimedSequence


class DraftModel:
    """A model on any backend, and the tokens that it was fed.

    sequence : of which they are
    tokens   : so far
    """

    def __init__(self, sequence: TimedSequence, *, vocab_size: int) -> None:
        """vocab_size : tokens that the model knows"""
        self.sequence = sequence
        self._vocab_size = vocab_size
        self.tokens: list[int] = []

    def truncate(self, length: int) -> None:
        """Forget the tokens from `length` on."""
        del self.tokens[length:]
        self.sequence.truncate(length)

    def feed(self, tokens: Sequence[int]) -> Array:
        """Append tokens; logits of the last, (1, tokens that the head is for), until the next call.

        One that the draft does not know is fed as token 0: what follows it is a worse guess, no
        more, since the target verifies all.
        """
        logits = self.sequence.feed([token if token < self._vocab_size else 0 for token in tokens])
        self.tokens += tokens
        return logits
