"""Texts that are hard on tokenizers, the same on every machine and Python version.

Code points come from literal ranges, not from Python's Unicode tables, and choices from
`random.Random.random`, whose sequence is guaranteed.
"""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from support.torture_samples import (
    CODE,
    EMOJI,
    NUMBERS,
    PHRASES,
    SCRIPTS,
    SPECIAL_TEXTS,
    WHITESPACE,
    WORDS,
)

_Item = TypeVar("_Item")

_MARKS = [
    *range(0x300, 0x370),
    *range(0x591, 0x5BE),
    *range(0x64B, 0x660),
    *range(0x1AB0, 0x1ABE),
    *range(0x20D0, 0x20F1),
    *range(0xFE20, 0xFE30),
]
_ODD_POINTS = [
    *range(0xFE00, 0xFE10),  # variation selectors
    *range(0xE000, 0xE010),  # private use
    *range(0xE0020, 0xE0080),  # tags
    *range(0x2060, 0x2070),
    *(0xAD, 0x34F, 0x61C, 0x17F, 0x130, 0x131, 0x1E9E, 0x212A, 0x212B, 0x200B, 0x200C, 0x200D),
    *(0xFEFF, 0xFFF9, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF, 0x378, 0x1FFFF, 0xF0000, 0x10FFFF),
    *(0x1C89, 0x10D40, 0x10D4A, 0x11BC0, 0x13460, 0x16D40, 0x1E5F1, 0x1FADC),  # of Unicode 16
    *(0x2EBF0, 0x2FFC, 0x31350, 0x1E4D0, 0x11F04),  # of Unicode 15
]


class _Dice:
    """Random choices that depend on nothing but the seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[_Item]) -> _Item:
        return items[self.below(len(items))]

    def many(self, items: Sequence[_Item], low: int, high: int) -> list[_Item]:
        return [self.pick(items) for _ in range(self.between(low, high))]


def torture_texts() -> list[str]:
    """More than 2,000 texts; some hold newlines, NUL or lone surrogates."""
    texts = ["", *PHRASES, *CODE, *NUMBERS, *SPECIAL_TEXTS, *EMOJI, *WHITESPACE]
    for seed, (make, count) in enumerate(_KINDS):
        dice = _Dice(seed)
        texts += [make(dice) for _ in range(count)]
    texts += [_words_of(_Dice(1000 + i), SCRIPTS[i % len(SCRIPTS)]) for i in range(400)]
    return texts


def _words_of(dice: _Dice, script: tuple[int, int]) -> str:
    """Words of random characters of one script."""
    points = range(script[0], script[1] + 1)
    words = ("".join(map(chr, dice.many(points, 1, 9))) for _ in range(dice.between(1, 10)))
    return dice.pick([" ", " ", ", ", "\u3000", "-"]).join(words)


def _whitespace(dice: _Dice) -> str:
    between = [dice.pick(WORDS) if dice.below(3) else "" for _ in range(dice.between(1, 6))]
    edge = dice.pick(WHITESPACE) * dice.below(3)
    return edge + "".join(word + "".join(dice.many(WHITESPACE, 1, 4)) for word in between)


def _runs(dice: _Dice) -> str:
    """Runs of one whitespace character, up to longer than any token."""
    return "".join(
        dice.pick(WHITESPACE) * dice.between(1, 40) + dice.pick([*WORDS, ""])
        for _ in range(dice.between(1, 4))
    )


def _controls(dice: _Dice) -> str:
    points = [*range(0x20), *range(0x7F, 0xA1)]
    return "".join(
        dice.pick(WORDS) * dice.below(2) + chr(dice.pick(points)) * dice.between(1, 3)
        for _ in range(dice.between(1, 8))
    )


def _special(dice: _Dice) -> str:
    """Special tokens whole, cut, doubled, and inside words."""
    parts = []
    for _ in range(dice.between(1, 6)):
        text = dice.pick(SPECIAL_TEXTS)
        start, end = dice.below(len(text)), dice.between(1, len(text))
        parts.append(dice.pick([text, text, text, text[:end], text[start:], text + text]))
        parts.append(dice.pick(["", "", " ", "\n", *WORDS]))
    return "".join(parts)


def _long(dice: _Dice) -> str:
    """Hundreds of characters with nothing to split at."""
    first, last = dice.pick([(97, 122), (65, 90), (48, 57), (33, 47), (0x4E00, 0x9FA5)])
    points = range(first, last + 1)
    if dice.below(3) == 0:
        return chr(dice.pick(points)) * dice.between(100, 1500)
    return "".join(map(chr, dice.many(points, 100, 1500)))


def _numbers(dice: _Dice) -> str:
    zero = dice.pick([0x30, 0x30, 0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0xFF10, 0x1D7CE])
    parts = []
    for _ in range(dice.between(1, 6)):
        parts += [chr(zero + digit) for digit in dice.many(range(10), 1, 12)]
        parts.append(dice.pick([".", ",", " ", "e-", "\u00bd", "\u2167", "\u2460", "x", "/", ""]))
    return "".join(parts)


def _combining(dice: _Dice) -> str:
    bases = [*range(0x41, 0x5B), *range(0x61, 0x7B), 0x5D0, 0x627, 0x915, 0xE01, 0x20, 0x31]
    return "".join(
        chr(dice.pick(bases)) + "".join(map(chr, dice.many(_MARKS, 0, 6)))
        for _ in range(dice.between(1, 20))
    )


def _emoji(dice: _Dice) -> str:
    joiners = ["", "\u200d", "\ufe0f", "\U0001f3fd", " ", "\ufe0f\u200d"]
    return "".join(
        dice.pick(EMOJI) + dice.pick(joiners) + dice.pick([*WORDS, "", "", ""])
        for _ in range(dice.between(1, 8))
    )


def _quotes(dice: _Dice) -> str:
    """Contractions in every case, with straight and curly quotes."""
    endings = ["s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "LL", "\u017f", "x", ""]
    return "".join(
        dice.pick(WORDS)
        + dice.pick(["'", "'", "'", "\u2019", " '", "''", '"'])
        + dice.pick(endings)
        + dice.pick(["", " ", "\n", "."])
        for _ in range(dice.between(1, 8))
    )


def _punctuation(dice: _Dice) -> str:
    signs = [*range(0x21, 0x30), *range(0x3A, 0x41), *range(0x5B, 0x61), *range(0x7B, 0x7F)]
    signs += [*range(0x2010, 0x2028), *range(0x3001, 0x3012), *range(0x20A0, 0x20C0), 0xA3, 0xD7]
    return "".join(
        "".join(map(chr, dice.many(signs, 1, 6))) + dice.pick(["", " ", "\n", "\r\n", *WORDS])
        for _ in range(dice.between(1, 10))
    )


def _code(dice: _Dice) -> str:
    """Lines of code, indented at random."""
    lines = [line for text in CODE for line in text.split("\n")]
    indents = ["", "  ", "    ", "\t", "\t\t", "        ", " \t ", "                    "]
    return dice.pick(["\n", "\r\n", "\n\n"]).join(
        dice.pick(indents) + dice.pick(lines) for _ in range(dice.between(2, 12))
    )


def _broken(dice: _Dice) -> str:
    """Bytes that are not UTF-8, read in the two ways that Python has for them."""
    data = "".join(dice.many([*PHRASES, *EMOJI], 1, 2)).encode()[: dice.between(5, 60)]
    noise = bytes(dice.many(range(256), 1, 12))
    cut = dice.below(len(data) + 1)
    errors = dice.pick(["replace", "surrogateescape"])
    return (data[:cut] + noise + data[cut:]).decode(errors=errors)


def _odd(dice: _Dice) -> str:
    return "".join(
        dice.pick(WORDS) * dice.below(2) + chr(dice.pick(_ODD_POINTS))
        for _ in range(dice.between(1, 10))
    )


def _any_point(dice: _Dice) -> str:
    """Code points from everywhere, lone surrogates among them."""
    limits = [0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000]
    return "".join(chr(dice.below(dice.pick(limits))) for _ in range(dice.between(1, 40)))


def _mixture(dice: _Dice) -> str:
    makers = [make for make, _ in _KINDS if make not in (_mixture, _long)]
    separators = ["", " ", "\n", "\n\n", "\t", "  "]
    return dice.pick(separators).join(dice.pick(makers)(dice) for _ in range(dice.between(2, 4)))


_KINDS: list[tuple[Callable[[_Dice], str], int]] = [
    (_whitespace, 200),
    (_runs, 100),
    (_controls, 100),
    (_special, 200),
    (_long, 60),
    (_numbers, 120),
    (_combining, 120),
    (_emoji, 120),
    (_quotes, 120),
    (_punctuation, 150),
    (_code, 120),
    (_broken, 120),
    (_odd, 100),
    (_any_point, 150),
    (_mixture, 250),
]
