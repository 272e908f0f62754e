"""Merging words by the kernel, against its definition on random vocabularies."""

import random

import numpy as np
import pytest

from slipstream.cpu_kernels.compiled.merge_words import (
    MergeCosts,
    find_merged,
    merge_costs,
    merge_words,
)
from slipstream.cpu_kernels.compiled.text_table import TextTable
from slipstream.cpu_kernels.errors import ShapeError
from slipstream.runtime.tokenizer.vocabulary import stored_texts
from support.merging import merge_neighbours

LETTERS = "ab\u00e9\u20ac\U0001f600"
LENGTHS = (0, 1, 2, 3, 63, 64, 65, 300)


def table_of(texts: list[str]) -> TextTable:
    """A table of these texts."""
    return TextTable(stored_texts(texts), len(texts))


def random_words(dice: random.Random) -> list[str]:
    """Words of all lengths, some with a letter that no token has."""
    lengths = [*LENGTHS * 5, 1000]
    return ["".join(dice.choices(f"{LETTERS}{LETTERS}z", k=length)) for length in lengths]


def merged(table: TextTable, costs: MergeCosts, words: list[str], **options: object) -> list:
    """The tokens of each word."""
    data = [word.encode() for word in words]
    ends = np.cumsum([len(word) + 1 for word in data], dtype=np.int64) - 1
    joined = b"".join(word + b" " for word in data)
    tokens, starts = merge_words(table, costs, joined, ends, **options)
    return [part.tolist() for part in np.split(tokens, starts[1:])[:-1]]


def random_merges(dice: random.Random) -> list[str]:
    """Pairs of what earlier pairs made, and of what none did; some are there twice."""
    known, merges = list(LETTERS), []
    for _ in range(60):
        first, second = dice.choice(known), dice.choice(known)
        merges.append(f"{first} {second}")
        if len(first + second) < 9:
            known.append(first + second)
    return [*merges, *dice.choices(merges, k=5)]


@pytest.mark.parametrize("seed", range(20))
def test_merges_equal_the_definition(seed: int) -> None:
    dice = random.Random(seed)
    merges = random_merges(dice)
    letters = dice.sample(LETTERS, 4)  # one has no token
    tokens = list(dict.fromkeys([*letters, *(merge.replace(" ", "") for merge in merges)]))
    table, ids = table_of(tokens), {text: i for i, text in enumerate(tokens)}
    made, splits = find_merged(table, stored_texts(merges), len(merges))
    assert made.tolist() == [ids[merge.replace(" ", "")] for merge in merges]
    costs = merge_costs(made, splits, len(tokens))
    ranks = dict(zip(reversed(merges), reversed(range(len(merges))), strict=True))
    words = random_words(dice)
    pieces = [merge_neighbours([*word], lambda a, b: ranks.get(f"{a} {b}")) for word in words]
    assert max(len(piece) for of_word in pieces for piece in of_word) > 3
    assert merged(table, costs, words) == [
        [ids[piece] for piece in of_word if piece in ids] for of_word in pieces
    ]


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_the_definition(seed: int) -> None:
    """Costs repeat, so that the leftmost of equals matters; bytes stand for what has no token."""
    dice = random.Random(seed)
    made = {"".join(dice.choices(LETTERS, k=dice.randint(1, 5))) for _ in range(300)}
    tokens = sorted(made | {*LETTERS} - {"\u00e9"})
    costs = [dice.randint(0, 5) for _ in tokens]
    ids = {text: i for i, text in enumerate(tokens)}

    def cost_of(first: str, second: str) -> int | None:
        return costs[ids[first + second]] if first + second in ids else None

    words = random_words(dice)
    byte_tokens = np.arange(1000, 1256, dtype=np.int32)
    want = [
        [
            token
            for piece in merge_neighbours([*word], cost_of)
            for token in ([ids[piece]] if piece in ids else [1000 + b for b in piece.encode()])
        ]
        for word in words
    ]
    by_token = MergeCosts(costs=np.array(costs, np.int32))
    assert merged(table_of(tokens), by_token, words, byte_tokens=byte_tokens) == want


def test_whole_words() -> None:
    table = table_of(["a", "b", "ab", "ba", "aba"])
    costs = merge_costs(*find_merged(table, stored_texts(["b a"]), 1), len(table))
    assert merged(table, costs, ["ab", "aba", "b"]) == [[0, 1], [0, 3], [1]]
    whole = merged(table, costs, ["ab", "aba", "b", "abab"], takes_whole_words=True)
    assert whole == [[2], [4], [1], [0, 3, 1]]


def test_what_is_no_merge() -> None:
    table = table_of(["a", "b", "ab", "\u00e9", " a", " ab"])
    merges = ["a b", "ab", "", " ", "a", "a c", " a b", "b a", "\u00e9 ", "a  b"]
    made, _ = find_merged(table, stored_texts(merges), len(merges))
    assert made.tolist() == [2, -1, -1, -1, -1, -1, 5, -1, 3, -1]
    # A space inside of a character makes no merge of what is not UTF-8.
    stored = (3).to_bytes(8, "little") + b"\xc3 \xa9"
    made, _ = find_merged(table, np.frombuffer(stored, np.uint8), 1)
    assert made.tolist() == [-1]


def test_merges_that_end_too_early() -> None:
    stored = stored_texts(["a b", "a b"])
    made, _ = find_merged(table_of(["ab"]), np.ascontiguousarray(stored[:-1]), 3)
    assert made.tolist() == [0, -1, -1]


def test_a_word_of_a_million_characters_takes_its_time_only_once() -> None:
    """n log n: with n squared this would take hours."""
    tokens = ["a" * 2**power for power in range(10)]
    costs = MergeCosts(costs=np.arange(10, dtype=np.int32))
    (ids,) = merged(table_of(tokens), costs, ["a" * 1_000_000])
    assert ids == [9] * 1953 + [6]
    (ids,) = merged(
        table_of([*tokens, "b"]), MergeCosts(costs=np.zeros(11, np.int32)), ["b" * 10**6]
    )
    assert ids == [10] * 10**6


def test_no_words() -> None:
    table = table_of(["a"])
    assert merged(table, MergeCosts(costs=np.zeros(1, np.int32)), []) == []


@pytest.mark.parametrize("ends", [[], [1], [3], [2, 1], [-1, 2], [0, 0, 2]])
def test_ends_that_are_none_are_refused(ends: list[int]) -> None:
    costs = MergeCosts(costs=np.zeros(1, np.int32))
    with pytest.raises(ShapeError, match="the ends of all words"):
        merge_words(table_of(["a"]), costs, b"aa ", np.array(ends, np.int64))
