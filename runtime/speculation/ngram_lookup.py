"""Drafts by looking up how the text went on where it had the same last tokens before.

Source of the idea: prompt lookup decoding, github.com/apoorvumang/prompt-lookup-decoding.
"""

from collections.abc import Sequence
from typing import ClassVar

from slipstream.runtime.speculation.drafter import Drafter, Guess

_SHORTEST = 2  # tokens that must be the same
_LONGEST = 16  # more do not make it surer
_MOST_PLACES = 3  # the latest ones
_PRIORS = {2: 0.35, 3: 0.5, 4: 0.65}  # of the latest place, by tokens that are the same
_LONG_PRIOR = 0.8
_PRIOR_OF_OTHERS = 0.15  # of what followed at places before the latest

_Places = tuple[tuple[int, int], ...]  # (where the next token stands, tokens before it that match)


class NgramLookup(Drafter):
    """The text itself, prompt and answer, as a source of drafts. One for each request."""

    name: ClassVar[str] = "n-gram"

    def __init__(self) -> None:
        self._text: Sequence[int] = ()
        self._indexed = 0  # pairs of the text that are in `_after`, counted by their end
        self._after: dict[tuple[int, int], list[int]] = {}

    def begin(self, text: Sequence[int]) -> _Places:
        self._text = text
        after = self._after
        # The last pair is not indexed yet: nothing follows it.
        for end in range(max(self._indexed, _SHORTEST), len(text)):
            after.setdefault((text[end - 2], text[end - 1]), []).append(end)
        self._indexed = max(self._indexed, len(text))
        if len(text) < _SHORTEST:
            return ()
        places = after.get((text[-2], text[-1]), [])[-_MOST_PLACES:]
        found = [(place, self._match_length(place)) for place in reversed(places)]
        return tuple(sorted(found, key=lambda each: -each[1]))

    def guesses(self, path: tuple[int, ...], state: _Places | None) -> list[Guess]:
        text = self._text
        found: dict[int, Guess] = {}
        for place, length in state or ():
            if place < len(text) and text[place] not in found:
                following = tuple(
                    (other + 1, min(matching + 1, _LONGEST))
                    for other, matching in state or ()
                    if other < len(text) and text[other] == text[place]
                )
                is_first = not found
                found[text[place]] = Guess(
                    token=text[place],
                    kind=(self.name if is_first else "older n-gram", length),
                    prior=_PRIORS.get(length, _LONG_PRIOR) if is_first else _PRIOR_OF_OTHERS,
                    state=following,
                )
        return list(found.values())

    def _match_length(self, place: int) -> int:
        """Tokens before `place` that are the same as at the text's end."""
        text, length = self._text, _SHORTEST
        while length < min(_LONGEST, place) and text[place - 1 - length] == text[-1 - length]:
            length += 1
        return length
