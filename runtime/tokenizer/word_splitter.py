"""Texts to words, by the regular expressions of a pre-tokenizer."""

import re
from collections.abc import Sequence
from itertools import takewhile

from slipstream.runtime.tokenizer.unicode_classes import class_ranges

_SET = re.compile(r"\[(?:\\.|[^\]\\])*\]|\\p\{\w+\}|\\[sS]")
_CLASS = re.compile(r"\\p\{(\w+)\}|\\s")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


class WordSplitter:
    r"""Applies patterns one after the other, each to the pieces that the one before left.

    patterns : in the syntax of Python's `re`, without groups that capture; \s, \S and classes like
               \p{L} have the characters that they have in Unicode 15.1
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._compiled: dict[int, list[re.Pattern[str]]] = {}

    def split(self, text: str) -> list[str]:
        """Every match and every stretch between matches, in their order; none is empty."""
        highest = _highest(text)
        if highest not in self._compiled:
            expanded = (_spelt_out(pattern, highest) for pattern in self._patterns)
            self._compiled[highest] = [re.compile(f"({pattern})") for pattern in expanded]
        words = [text]
        for pattern in self._compiled[highest]:
            words = [part for word in words for part in pattern.split(word) if part]
        return words


def _highest(text: str) -> int:
    """A code point that none of the text is above.

    Compiling a pattern for ASCII takes 0.2 ms, for the basic plane 5 ms. With the planes above,
    where `re` searches a class range by range, splitting takes eight times as long.
    """
    if text.isascii():
        return 0x7F
    return 0x10FFFF if _ASTRAL.search(text) else 0xFFFF


def _spelt_out(pattern: str, highest: int) -> str:
    """The pattern with the characters up to `highest` in the place of classes."""

    def members(match: re.Match[str]) -> str:
        return _members(match[1] or "White_Space", highest)

    def set_of(match: re.Match[str]) -> str:
        if match[0] == r"\S":
            return f"[^{_members('White_Space', highest)}]"
        inside = _CLASS.sub(members, match[0])
        return inside if inside.startswith("[") else f"[{inside}]"

    return _SET.sub(set_of, pattern)


def _members(name: str, highest: int) -> str:
    """The inside of a set with the characters of a class up to `highest`."""
    ranges = takewhile(lambda range_: range_[0] <= highest, class_ranges(name))
    return "".join(
        f"{re.escape(chr(first))}-{re.escape(chr(min(last, highest)))}" for first, last in ranges
    )
