"""Splitting by Python's `re` equals splitting by the regular expressions of models' libraries."""

import unicodedata
from collections.abc import Iterable, Iterator

import pytest

from slipstream.runtime.tokenizer.pre_tokenizers import PRE_TOKENIZERS
from slipstream.runtime.tokenizer.unicode_classes import class_ranges
from slipstream.runtime.tokenizer.word_splitter import WordSplitter
from support.llamacpp_tokens import without_surrogates
from support.time_limit import time_limit
from support.torture_text import torture_texts

CATEGORIES = ("L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N", "P", "S")
CLASSES = {rf"\p{{{name}}}": name for name in CATEGORIES} | {r"\s": "White_Space"}
POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
# One name of each family.
FAMILIES = {PRE_TOKENIZERS[name].patterns: name for name in sorted(PRE_TOKENIZERS)}.values()


def members(name: str) -> set[int]:
    """The code points of a class."""
    return {point for first, last in class_ranges(name) for point in range(first, last + 1)}


def compare(name: str, texts: Iterable[str]) -> None:
    """Split each text and expect the reference's words."""
    pytest.importorskip("tokenizers")
    from support.oniguruma import splitter

    patterns = PRE_TOKENIZERS[name].patterns
    ours, reference = WordSplitter(patterns), splitter(patterns)
    for text in texts:
        words = [word for word, _ in reference.pre_tokenize_str(text)]
        assert ours.split(text) == words, repr(text)


def in_context(points: list[int]) -> Iterator[str]:
    """Texts with each code point alone, doubled, and beside letters, digits, spaces and signs."""
    for start in range(0, len(points), 100):
        characters = map(chr, points[start : start + 100])
        yield "".join(f"a{c}1 {c}{c}'{c}  {c}\n{c}B.{c}s\n" for c in characters)


# Counted in llama.cpp's tables, which are those of Unicode 15.1.
@pytest.mark.parametrize(
    ("category", "count"),
    [("L", 136726), ("N", 1831), ("M", 2450), ("P", 842), ("S", 7775)],
)
def test_classes_are_those_of_unicode_15(category: str, count: int) -> None:
    assert len(members(category)) == count


@pytest.mark.parametrize("name", CATEGORIES)
def test_classes_hold_what_python_knows_to_be_in_them(name: str) -> None:
    """Whichever version of Unicode Python has: categories of assigned characters hardly change."""
    ours = members(name)
    known = {point for point in POINTS if unicodedata.category(chr(point)).startswith(name)}
    version = tuple(map(int, unicodedata.unidata_version.split(".")))
    if version <= (15, 1, 0):
        assert known <= ours
    if version >= (15, 1, 0):
        assert ours <= known


def test_letters_are_those_with_and_without_case() -> None:
    kinds = [members(name) for name in ("Lu", "Ll", "Lt", "Lm", "Lo")]
    assert set.union(*kinds) == members("L")
    assert sum(map(len, kinds)) == len(members("L"))


@pytest.mark.parametrize("pattern", CLASSES)
def test_classes_equal_the_reference_for_every_character(pattern: str) -> None:
    pytest.importorskip("tokenizers")
    from support.oniguruma import splitter

    text, patterns = "".join(map(chr, POINTS)), (f"{pattern}+",)
    words = [word for word, _ in splitter(patterns).pre_tokenize_str(text)]
    assert WordSplitter(patterns).split(text) == words
    ours = members(CLASSES[pattern])
    assert {ord(c) for word in words if ord(word[0]) in ours for c in word} == ours


@pytest.mark.parametrize("name", FAMILIES)
def test_splits_equal_the_reference_on_hard_texts(name: str) -> None:
    compare(name, map(without_surrogates, torture_texts()))


@pytest.mark.parametrize("name", FAMILIES)
def test_splits_equal_the_reference_where_classes_begin_and_end(name: str) -> None:
    edges = {
        edge
        for class_ in CLASSES.values()
        for first, last in class_ranges(class_)
        for edge in (first - 1, first, last, last + 1)
        if edge < 0x110000 and not 0xD800 <= edge < 0xE000
    }
    compare(name, in_context([*range(0x180), *sorted(edges)]))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_splits_equal_the_reference_for_every_character(name: str) -> None:
    compare(name, in_context(POINTS))


HOSTILE = {
    "spaces": " ",
    "newlines": "\n",
    "letters": "a",
    "capitals": "A",
    "digits": "7",
    "signs": "!",
    "marks": "\u0301",
    "kana": "\u30a2",
    "emoji": "\U0001f600",
    "spaces and newlines": " \n",
    "quotes": "'",
    "titles": "\u01c5\u02b0",
    "controls": "\x01",
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("run", HOSTILE)
def test_long_runs_take_linear_time(name: str, run: str) -> None:
    """Quadratic time would be 10 s and more."""
    text = (HOSTILE[run] * 100_000)[:100_000]
    splitter = WordSplitter(PRE_TOKENIZERS[name].patterns)
    with time_limit(5):
        for end in ("", "a", "\u65e5", "\n", "\x01"):
            assert "".join(splitter.split(text + end)) == text + end
