"""Streaming text out of tokens: never half a character."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from slipstream.runtime.tokenizer import StreamDecoder, Tokenizer
from slipstream.runtime.tokenizer.token_roles import TokenKind
from support.vocabularies import byte_pair_metadata, score_metadata


def by_byte() -> StreamDecoder:
    """A decoder for which each token is the byte of the same value."""
    return StreamDecoder(lambda token_id: bytes([token_id]))


def test_a_character_comes_out_with_its_last_byte() -> None:
    stream = by_byte()
    text = "a\u00e9\u20ac\U0001f600z"
    pushed = [stream.push(byte) for byte in text.encode()]
    assert pushed == ["a", "", "\u00e9", "", "", "\u20ac", "", "", "", "\U0001f600", "z"]
    assert stream.flush() == ""


@pytest.mark.parametrize(
    ("data", "pushed"),
    [
        (b"\xff", ["\ufffd"]),
        (b"\x80a", ["\ufffd", "a"]),
        (b"\xc0\x80", ["\ufffd", "\ufffd"]),
        (b"\xe2\x82A", ["", "", "\ufffdA"]),
        (b"\xe2\xe2\x82\xac", ["", "\ufffd", "", "\u20ac"]),
        (b"\xed\xa0\x80", ["", "", "\ufffd\ufffd\ufffd"]),
        (b"\xf0\x9f\x98\n", ["", "", "", "\ufffd\n"]),
    ],
)
def test_what_can_not_be_a_character_comes_out_as_soon_as_that_is_certain(
    data: bytes, pushed: list[str]
) -> None:
    stream = by_byte()
    assert [stream.push(byte) for byte in data] == pushed


def test_flush_gives_what_was_held_back_and_starts_afresh() -> None:
    stream = by_byte()
    assert [stream.push(byte) for byte in b"\xe2\x82"] == ["", ""]
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""
    assert stream.push(ord("a")) == "a"


@pytest.mark.parametrize("seed", range(5))
def test_pieces_joined_are_the_whole_text(seed: int) -> None:
    dice = random.Random(seed)
    tokenizer = Tokenizer.from_metadata(
        byte_pair_metadata(["Ã ©", "â Ĥ", "ð Ł"], {"<|im_end|>": TokenKind.CONTROL})
    )
    ids = [dice.randrange(tokenizer.vocab_size) for _ in range(2000)]
    ids += tokenizer.encode("caf\u00e9 \u20ac \U0001f600" * 50)
    stream = tokenizer.stream()
    pushed = [stream.push(token_id) for token_id in ids]
    assert "".join(pushed) + stream.flush() == tokenizer.decode(ids)


def test_streams_do_not_share_what_they_hold_back() -> None:
    tokenizer = Tokenizer.from_metadata(byte_pair_metadata([]))
    euro = tokenizer.encode("\u20ac")
    one, other = tokenizer.stream(), tokenizer.stream()
    assert one.push(euro[0]) + one.push(euro[1]) == ""
    assert other.push(tokenizer.encode("a")[0]) == "a"
    assert one.push(euro[2]) == "\u20ac"


@pytest.mark.parametrize(
    "metadata",
    [byte_pair_metadata(["t h", "th e"]), score_metadata({"th": -1.0, "\u2581th": -2.0})],
    ids=["byte pairs", "scores"],
)
def test_threads_may_share_a_tokenizer(metadata: dict[str, object]) -> None:
    tokenizer = Tokenizer.from_metadata(metadata)
    texts = ["the th \u20ac" * n + str(n) * n for n in range(60)]
    want = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        for ids in threads.map(lambda _: [tokenizer.encode(text) for text in texts], range(16)):
            assert ids == want
