"""Drafts by looking up how the text went on where it had the same last tokens before.

Source of the idea: prompt lookup decoding, github.com/apoorvumang/prompt-lookup-decoding.
"""

from collections.abc import Sequence
from typing import ClassVar

from slipstream.runtime.speculation.drafter import Drafter, Guess

_LENGTHS = (4, 2, 1)  # tokens that must be the same; fewer are asked for where more never came
_LONGEST = 16  # more do not make it surer
_MOST_PLACES = 4  # the latest ones
_PRIORS = {1: 0.15, 2: 0.35, 3: 0.5, 4: 0.65}  # of the best place, by tokens that are the same
_LONG_PRIOR = 0.8
_PRIOR_OF_OTHERS = 0.15  # of what followed at other places

_Places = tuple[tuple[int, int], ...]  # (where the next token stands, tokens before it that match)


class NgramLookup(Drafter):
    """The text itself, prompt and answer, as a source of drafts. One for each request."""

    name: ClassVar[str] = "n-gram"

    def __init__(self) -> None:
        self._text: Sequence[int] = ()
        self._indexed = 1  # tokens that `_after` has; the first follows none
        self._after: dict[tuple[int, ...], list[int]] = {}

    def begin(self, text: Sequence[int]) -> _Places:
        self._text = text
        after = self._after
        for place in range(self._indexed, len(text)):
            for length in _LENGTHS:
                if length <= place:
                    after.setdefault(tuple(text[place - length : place]), []).append(place)
        self._indexed = max(self._indexed, len(text))
        for length in _LENGTHS:
            places = after.get(tuple(text[-length:]))
            if places is not None:
                latest = reversed(places[-_MOST_PLACES:])
                found = [(place, self._match_length(place, length)) for place in latest]
                return tuple(sorted(found, key=lambda each: -each[1]))
        return ()

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

    def _match_length(self, place: int, length: int) -> int:
        """Tokens before `place` that are the same as at the text's end: `length` or more."""
        text = self._text
        while length < min(_LONGEST, place) and text[place - 1 - length] == text[-1 - length]:
            length += 1
        return length
