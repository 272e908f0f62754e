"""The table of texts: against a dictionary, and with what a hostile file may hold."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from slipstream.cpu_kernels.compiled import text_table
from slipstream.cpu_kernels.compiled.text_table import TextTable
from slipstream.cpu_kernels.errors import ShapeError
from slipstream.runtime.tokenizer.vocabulary import stored_texts


def table_of(texts: list[str]) -> TextTable:
    """A table of these texts."""
    return TextTable(stored_texts(texts), len(texts))


def random_texts(dice: random.Random, count: int) -> list[str]:
    """Distinct texts, short ones of few letters and long ones; one is empty."""
    short = {"".join(dice.choices("ab\u20ac \0", k=dice.randint(0, 5))) for _ in range(count)}
    return [*short, *("x" * length for length in (255, 256, 257, 70_000))]


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_dictionary(seed: int) -> None:
    dice = random.Random(seed)
    texts = random_texts(dice, 3000)
    dice.shuffle(texts)
    table = table_of(texts)
    assert len(table) == len(texts)
    assert table.duplicate is None
    assert table.longest == 70_000
    assert table.is_utf8()
    ids = {text: i for i, text in enumerate(texts)}
    for text in (*texts, *random_texts(dice, 3000), "x" * 254, "x" * 69_999, "x" * 80_000):
        assert table.find(text) == ids.get(text)
    assert [table[i] for i in range(len(texts))] == texts


def test_more_texts_than_one_probe_could_hold() -> None:
    texts = [str(number) for number in range(100_000)]
    table = table_of(texts)
    dice = random.Random(0)
    for number in dice.sample(range(100_000), 1000):
        assert table.find(str(number)) == number
        assert table.find(f"{number}x") is None


def test_no_texts() -> None:
    table = table_of([])
    assert (len(table), table.find(""), table.duplicate, table.longest) == (0, None, None, 0)


def test_the_first_duplicate_is_named_and_the_first_of_equal_texts_found() -> None:
    table = table_of(["a", "", "b", "", "a", "a"])
    assert table.duplicate == 3
    assert (table.find("a"), table.find(""), table.find("b")) == (0, 1, 2)


@pytest.mark.parametrize("parts", [[b"\xe2", b"\x82\xac"], [b"a\xc3"], [b"\xa9"], [b"a", b"\xff"]])
def test_texts_are_valid_one_by_one(parts: list[bytes]) -> None:
    stored = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    assert not TextTable(np.frombuffer(stored, np.uint8), len(parts)).is_utf8()


@pytest.mark.parametrize("length", [3, 4, 2**31, 2**63, 2**64 - 1])
def test_a_length_beyond_the_end(length: int) -> None:
    stored = b"".join([(1).to_bytes(8, "little"), b"a", length.to_bytes(8, "little"), b"bc"])
    with pytest.raises(ShapeError, match="text 1 has no end"):
        TextTable(np.frombuffer(stored, np.uint8), 2)


def test_fewer_bytes_than_texts() -> None:
    with pytest.raises(ShapeError, match="can't be 3 texts"):
        TextTable(np.zeros(23, np.uint8), 3)


def test_texts_of_one_hash_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a factor of 1 the order of letters does not count: a list crafted for that."""
    monkeypatch.setattr(text_table.os, "urandom", bytes)
    texts = [format(number, "012b") for number in range(4096) if number.bit_count() == 6]
    assert len(table_of(texts[:200])) == 200
    with pytest.raises(ShapeError, match=r"text 256 has .* the hash of many others"):
        table_of(texts)


def test_threads_may_share_a_table() -> None:
    texts = [str(number) for number in range(1000)]
    table = table_of(texts)
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: [table.find(text) for text in texts], range(16)):
            assert found == list(range(1000))


def test_the_first_difference_of_two_tables() -> None:
    rng = np.random.default_rng(4)
    words = ["".join(rng.choice(list("ab日"), rng.integers(1, 5))) for _ in range(60)]
    for _ in range(300):
        other = words[: rng.integers(1, 60)]
        for _ in range(rng.integers(0, 3)):
            other[rng.integers(len(other))] = "".join(rng.choice(list("ab日"), rng.integers(1, 5)))
        pairs = zip(words, other, strict=False)
        want = next((i for i, (one, two) in enumerate(pairs) if one != two), None)
        assert table_of(words).first_difference(table_of(other)) == want
        assert table_of(other).first_difference(table_of(words)) == want
