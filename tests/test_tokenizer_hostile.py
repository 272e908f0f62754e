"""Tokenizer data that contradicts itself is refused with one clear error."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from slipstream.cpu_kernels.compiled import text_table
from slipstream.runtime.checkpoint.string_array import StringArray
from slipstream.runtime.errors import CheckpointError, UnsupportedError
from slipstream.runtime.tokenizer import Tokenizer
from slipstream.runtime.tokenizer.token_roles import TokenKind
from support.vocabularies import byte_pair_metadata, score_metadata

BPE = byte_pair_metadata(["t h", "th e"], {"<e>": TokenKind.CONTROL})
SPM = score_metadata({"th": -1.0, "t": -2.0, "h": -2.0})
KEY = "tokenizer.ggml."


def kinds(*numbers: int) -> np.ndarray:
    """Token kinds."""
    return np.array(numbers, np.int32)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (BPE, {"model": None}, "no key 'tokenizer.ggml.model'"),
        (BPE, {"model": 7}, "should be text, got 7"),
        (BPE, {"tokens": None}, "should be a list of texts, got nothing"),
        (BPE, {"tokens": "abc"}, "should be a list of texts, got str"),
        (BPE, {"tokens": kinds(1, 2)}, "should be a list of texts, got ndarray"),
        (BPE, {"tokens": ["a", 1]}, "should be a list of texts"),
        (BPE, {"tokens": []}, "vocabulary is empty"),
        (BPE, {"tokens": ["a", "b", "a"]}, "holds the token 'a' twice"),
        (BPE, {"tokens": ["[EMPTY_1]", ""]}, r"holds the token '\[EMPTY_1\]' twice"),
        (BPE, {"token_type": kinds(1, 1)}, "should hold 259 numbers, one a token, got 2"),
        (BPE, {"token_type": np.ones(259)}, "got another type"),
        (BPE, {"token_type": 1}, "got another type"),
        (BPE, {"token_type": kinds(*[1] * 258, 7)}, "numbers from 0 to 6, got 1 to 7"),
        (BPE, {"token_type": kinds(*[1] * 258, -1)}, "numbers from 0 to 6, got -1 to 1"),
        (BPE, {"token_type": kinds(*[1] * 258, 6)}, "token 258 stands for a byte.*'<e>'"),
        (BPE, {"merges": None}, "merges' should be a list of texts, got nothing"),
        (BPE, {"merges": [1]}, "merges' should be a list of texts"),
        (BPE, {"pre": 3}, "should be text, got 3"),
        (BPE, {"bos_token_id": 259}, "bos_token_id' should be a whole number from 0 to 258"),
        (BPE, {"eos_token_id": -1}, "eos_token_id' should be a whole number"),
        (BPE, {"eot_token_id": 1.5}, "eot_token_id' should be a whole number"),
        (BPE, {"fim_pad_token_id": 2**40}, "fim_pad_token_id' should be a whole number"),
        (BPE, {"unknown_token_id": True}, "unknown_token_id' should be a whole number"),
        (BPE, {"add_bos_token": 1}, "add_bos_token' should be true or false"),
        (BPE, {"add_bos_token": True}, "the bos token is to be added.*no tokenizer.ggml.bos"),
        (BPE, {"add_eos_token": True}, "the eos token is to be added.*no tokenizer.ggml.eos"),
        (SPM, {"scores": None}, "scores' should hold 262 numbers, one a token, got nothing"),
        (SPM, {"scores": np.zeros(261, np.float32)}, "got 261 numbers"),
        (SPM, {"scores": np.zeros((2, 131), np.float32)}, "got another type"),
        (SPM, {"scores": ["a"]}, "got another type"),
        (SPM, {"add_space_prefix": "yes"}, "should be true or false"),
    ],
)
def test_refused(base: dict[str, object], changes: dict[str, object], message: str) -> None:
    metadata = base | {KEY + name: value for name, value in changes.items()}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.from_metadata(metadata, path="some.gguf")
    assert str(caught.value).startswith("some.gguf: ")
    assert len(str(caught.value)) < 300


def in_file(texts: list[bytes]) -> StringArray:
    """A list of texts as a model file holds it."""
    stored = b"".join(len(text).to_bytes(8, "little") + text for text in texts)
    return StringArray(np.frombuffer(stored, np.uint8), len(texts), "some.gguf: the list")


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        ("tokens", [b"a", b"\xe2", b"\x82\xac"]),
        ("tokens", [b"a", b"\xc3"]),
        ("merges", [b"t h", b"\xff h"]),
        ("merges", [b"t h", b"\xc3 \xa9"]),
    ],
)
def test_texts_of_a_file_that_are_not_utf8(key: str, texts: list[bytes]) -> None:
    metadata = byte_pair_metadata(["t h"])
    metadata[KEY + key] = in_file(texts)
    with pytest.raises(CheckpointError, match="the list: entry 1 is not UTF-8"):
        Tokenizer.from_metadata(metadata)


def test_a_list_in_a_file_is_as_good_as_one_of_python() -> None:
    metadata = dict(BPE)
    for key in ("tokens", "merges"):
        metadata[KEY + key] = in_file([text.encode() for text in BPE[KEY + key]])
    ids = Tokenizer.from_metadata(BPE).encode("the <e> th", parse_special=True)
    assert Tokenizer.from_metadata(metadata).encode("the <e> th", parse_special=True) == ids


def test_tokens_of_one_hash_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table.os, "urandom", bytes)  # then the order of letters does not count
    texts = [format(number, "012b") for number in range(4096) if number.bit_count() == 6]
    with pytest.raises(CheckpointError, match="the tokens can't be used: stored: text 256 has"):
        Tokenizer.from_metadata(BPE | {KEY + "tokens": texts})


@pytest.mark.parametrize("model", ["bert", "t5", "rwkv", "none", "x" * 1000])
def test_other_tokenizers_are_named(model: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"'{model[:40]}' is not implemented"):
        Tokenizer.from_metadata({"tokenizer.ggml.model": model})


def test_without_default_roles_in_a_tiny_vocabulary() -> None:
    metadata = {key: value for key, value in SPM.items() if "token_type" not in key}
    metadata |= {"tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.scores": np.zeros(1, np.float32)}
    tokenizer = Tokenizer.from_metadata(metadata)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_ids) == (None, None, frozenset())
    assert tokenizer.encode("aab") == [0, 0, 0]


def test_empty_tokens_have_a_name() -> None:
    metadata = byte_pair_metadata([], {"": TokenKind.NORMAL, "x y": TokenKind.NORMAL})
    assert Tokenizer.from_metadata(metadata).decode([256]) == "[EMPTY_256]"


def damage(dice: random.Random, metadata: dict[str, object]) -> None:
    """Put something else into one key."""
    key = dice.choice([key for key in metadata if key.startswith(KEY)])
    value = metadata[key]
    strange = [None, 0, -1, 2**63, 1.5, True, "", "x", [], ["x"], [b"x"], np.zeros(3), np.array([])]
    changes: list[Callable[[], object]] = [lambda: dice.choice(strange)]
    if isinstance(value, list):
        changes += [lambda: value[:-1], lambda: [*value, dice.choice(value or ["x"])]]
        changes += [lambda: value[::-1], lambda: [*value[:5], "\x00 \ufffd", *value[6:]]]
    if isinstance(value, np.ndarray):
        noise = np.frombuffer(dice.randbytes(value.nbytes), value.dtype)
        changes += [lambda: value[:-1], lambda: noise, lambda: value.astype(np.float64)]
    metadata[key] = dice.choice(changes)()


@pytest.mark.parametrize("base", [BPE, SPM], ids=["byte pairs", "scores"])
def test_damaged_metadata_is_used_or_refused(base: dict[str, object]) -> None:
    dice = random.Random(0)
    used = refused = 0
    for _ in range(1500):
        metadata = dict(base)
        for _ in range(dice.randint(1, 3)):
            damage(dice, metadata)
        try:
            tokenizer = Tokenizer.from_metadata(metadata)
        except CheckpointError:
            refused += 1
            continue
        used += 1
        ids = tokenizer.encode("the <e> \x00\u20ac", parse_special=True)
        assert isinstance(tokenizer.decode(ids), str)
    assert used > 50
    assert refused > 500
