"""SentencePiece-style encoding from the metadata of a model file."""

import itertools
import random

import numpy as np
import pytest

from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.tokenizer import Tokenizer
from slipstream.runtime.tokenizer.score_merge import costs_of
from slipstream.runtime.tokenizer.token_roles import TokenKind
from support.vocabularies import score_metadata

PIECES = {
    "\u2581the": -1.0,
    "\u2581t": -3.0,
    "th": -5.0,
    "he": -4.0,
    "\u2581": -9.0,
    "t": -10.0,
    "h": -10.0,
    "e": -10.0,
}


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """The text of each token of a text."""
    return [tokenizer.decode([i], skip_special=False) for i in tokenizer.encode(text)]


def encode_slowly(scores: dict[str, float], text: str) -> list[str]:
    """The definition: merge the best-scored pair, the leftmost of equals, until there is none."""
    parts = list(text.replace(" ", "\u2581"))
    while True:
        joined = (first + second for first, second in itertools.pairwise(parts))
        found = [(scores[text], -at) for at, text in enumerate(joined) if text in scores]
        if not found:
            return parts
        at = -max(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_definition(seed: int) -> None:
    """On random vocabularies with equal scores, every other one with spaces inside of tokens."""
    dice = random.Random(seed)
    letters = "ab\u2581c"
    texts = {"".join(dice.choices(letters, k=dice.randint(1, 4))) for _ in range(60)}
    if seed % 2 == 0:
        texts = {"\u2581" * text.count("\u2581") + text.replace("\u2581", "") for text in texts}
    # Only what its parts can make is reached, so put the parts in too.
    scores = {
        text[:end]: -float(dice.randint(0, 9)) for text in sorted(texts) for end in (1, 2, 3, 4)
    }
    metadata = score_metadata(scores)
    ids = {text: i for i, text in enumerate(metadata["tokenizer.ggml.tokens"])}
    tokenizer = Tokenizer.from_metadata(metadata)
    for _ in range(100):
        text = "".join(dice.choices("ab c", k=dice.randint(0, 30)))
        assert tokenizer.encode(text) == [
            i
            for part in encode_slowly(scores, text)
            for i in ([ids[part]] if part in ids else [ids[f"<0x{b:02X}>"] for b in part.encode()])
        ]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "int64"])
def test_scores_of_any_type_keep_their_order(dtype: str) -> None:
    scores = np.array([1, -0.0, 0.0, -1, -2.0, -1e30, 1e30]) if "f" in dtype else np.arange(7)
    costs = costs_of(scores.astype(dtype)).tolist()
    for i, j in itertools.product(range(7), repeat=2):
        assert (costs[i] < costs[j], costs[i] == costs[j]) == (
            scores[i] > scores[j],
            scores[i] == scores[j],
        )


def test_words_and_longer_texts_are_alike() -> None:
    tokenizer = Tokenizer.from_metadata(score_metadata(PIECES))
    the = tokenizer.encode(" the")
    assert tokenizer.encode(" the" * 3000) == the * 3000
    assert tokenizer.encode("t" * 3000) == tokenizer.encode("t") * 3000


def test_the_best_score_merges_first() -> None:
    tokenizer = Tokenizer.from_metadata(score_metadata(PIECES))
    # "he" scores better than "th"; then no token begins with "the", but one with a space does.
    assert pieces(tokenizer, "the") == ["t", "he"]
    assert pieces(tokenizer, " the") == [" the"]


def test_a_character_without_a_token_becomes_its_bytes() -> None:
    tokenizer = Tokenizer.from_metadata(score_metadata(PIECES))
    ids = tokenizer.encode("t\u20ac\n")
    assert [tokenizer.token_bytes(i) for i in ids] == [b"t", b"\xe2", b"\x82", b"\xac", b"\n"]
    assert tokenizer.decode(ids) == "t\u20ac\n"


def test_without_byte_tokens_there_is_the_unknown_token() -> None:
    metadata = score_metadata(PIECES)
    tokens = metadata["tokenizer.ggml.tokens"]
    metadata["tokenizer.ggml.tokens"] = [text.replace("<0x", "<1x") for text in tokens]
    del metadata["tokenizer.ggml.token_type"]
    assert Tokenizer.from_metadata(metadata).encode("t\u20ac") == [tokens.index("t"), 0, 0, 0]


def test_a_leading_space_is_added_and_taken_off() -> None:
    plain = Tokenizer.from_metadata(score_metadata(PIECES))
    spaced = Tokenizer.from_metadata(score_metadata(PIECES, add_space_prefix=True))
    assert spaced.encode("the") == plain.encode(" the")
    for text in ("the", " the", "  t", "h the"):
        assert plain.decode(plain.encode(text)) == text
        assert spaced.decode(spaced.encode(text)) == text


def test_a_leading_space_is_added_after_special_tokens_too() -> None:
    metadata = score_metadata(PIECES, add_space_prefix=True, add_bos_token=True)
    tokenizer = Tokenizer.from_metadata(metadata)
    word = tokenizer.encode("the", add_special=False)
    assert tokenizer.encode("the</s>the", parse_special=True) == [1, *word, 2, *word]
    assert tokenizer.decode([1, *word]) == "the"


def test_the_space_is_on_unless_the_file_says_otherwise() -> None:
    metadata = score_metadata(PIECES, add_space_prefix=None, add_bos_token=None)
    tokenizer = Tokenizer.from_metadata(metadata)
    assert [tokenizer.token_bytes(i) for i in tokenizer.encode("the")] == [b"", b" the"]
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)


def test_a_stream_keeps_the_leading_space() -> None:
    tokenizer = Tokenizer.from_metadata(score_metadata(PIECES, add_space_prefix=True))
    stream = tokenizer.stream()
    assert "".join(map(stream.push, tokenizer.encode("the"))) + stream.flush() == " the"


def test_the_space_sign_itself_can_not_be_kept() -> None:
    tokenizer = Tokenizer.from_metadata(score_metadata(PIECES))
    assert tokenizer.decode(tokenizer.encode("t\u2581t")) == "t t"


def test_user_defined_tokens_keep_the_space_sign() -> None:
    metadata = score_metadata(PIECES, {"a\u2581b": TokenKind.USER_DEFINED})
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.decode(tokenizer.encode("ta\u2581bt")) == "ta\u2581bt"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_numbers_are_refused(bad: float) -> None:
    metadata = score_metadata(PIECES)
    metadata["tokenizer.ggml.scores"][5] = bad
    with pytest.raises(CheckpointError, match=r"scores holds values that are not numbers"):
        Tokenizer.from_metadata(metadata)
