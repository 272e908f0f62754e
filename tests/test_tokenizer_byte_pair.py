"""Byte-level byte-pair encoding from the metadata of a model file."""

import pytest

from slipstream.runtime.errors import CheckpointError, OptionError, UnsupportedError
from slipstream.runtime.tokenizer import Tokenizer
from slipstream.runtime.tokenizer.pre_tokenizers import PRE_TOKENIZERS
from slipstream.runtime.tokenizer.token_roles import TokenKind
from support.vocabularies import byte_pair_metadata

MERGES = ["t h", "h e", "th e", "Ġ the", "Ġ t", "1 2", "12 3", "Ã ©"]
SPECIAL = {"<bos>": TokenKind.CONTROL, "<eos>": TokenKind.CONTROL}


def pieces(tokenizer: Tokenizer, text: str, **options: bool) -> list[bytes]:
    """The bytes of each token of a text."""
    return [tokenizer.token_bytes(i) for i in tokenizer.encode(text, **options)]


def test_merges_follow_their_rank() -> None:
    tokenizer = Tokenizer.from_metadata(byte_pair_metadata(MERGES))
    assert pieces(tokenizer, "the the hehe") == [b"the", b" the", b" ", b"he", b"he"]


def test_the_first_of_a_repeated_merge_counts() -> None:
    # At its second place, "h e" would come after "t h" and never be used here.
    metadata = byte_pair_metadata(MERGES)
    metadata["tokenizer.ggml.merges"] = ["h e", *MERGES]
    assert pieces(Tokenizer.from_metadata(metadata), "the") == [b"t", b"he"]


def test_a_space_that_starts_a_merge_belongs_to_its_first_token() -> None:
    metadata = byte_pair_metadata(["a b"])
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], " a", " ab"]
    metadata["tokenizer.ggml.merges"] = ["a b", " a b"]
    del metadata["tokenizer.ggml.token_type"]
    assert pieces(Tokenizer.from_metadata(metadata), "ab") == [b"ab"]


def test_every_byte_comes_back() -> None:
    tokenizer = Tokenizer.from_metadata(byte_pair_metadata(MERGES))
    text = "".join(map(chr, range(0x250))) + "\u20ac\U0001f600"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert b"".join(tokenizer.token_bytes(i) for i in range(256)) == bytes(range(256))


def test_bytes_without_a_token_are_left_out() -> None:
    metadata = byte_pair_metadata(["a b"])
    metadata["tokenizer.ggml.tokens"] = ["a", "b", "ab"]
    del metadata["tokenizer.ggml.token_type"]
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.encode("ab!") == [2]
    # What was beside the byte does not merge across it.
    assert tokenizer.encode("a\u00e9b") == [0, 1]


def test_the_pre_tokenizer_decides_what_may_merge() -> None:
    whole = Tokenizer.from_metadata(byte_pair_metadata(MERGES, pre="gpt-2"))
    single = Tokenizer.from_metadata(byte_pair_metadata(MERGES, pre="qwen2"))
    assert pieces(whole, "123") == [b"123"]
    assert pieces(single, "123") == [b"1", b"2", b"3"]


def test_ignore_merges_takes_whole_words_that_no_merge_makes() -> None:
    metadata = byte_pair_metadata(MERGES, {"xyz": TokenKind.NORMAL}, add_bos_token=False)
    assert pieces(Tokenizer.from_metadata(metadata), "xyz") == [b"x", b"y", b"z"]
    metadata["tokenizer.ggml.pre"] = "llama-bpe"
    assert pieces(Tokenizer.from_metadata(metadata), "xyz") == [b"xyz"]


def test_bos_and_eos_are_added_as_the_file_says() -> None:
    metadata = byte_pair_metadata(MERGES, SPECIAL)
    bos, eos = (metadata["tokenizer.ggml.tokens"].index(text) for text in SPECIAL)
    metadata |= {"tokenizer.ggml.bos_token_id": bos, "tokenizer.ggml.eos_token_id": eos}
    the = Tokenizer.from_metadata(metadata).encode("the")
    assert len(the) == 1
    assert not Tokenizer.from_metadata(metadata).adds_bos
    metadata["tokenizer.ggml.add_bos_token"] = metadata["tokenizer.ggml.add_eos_token"] = True
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.adds_bos
    assert tokenizer.encode("the") == [bos, *the, eos]
    assert tokenizer.encode("the", add_special=False) == the
    assert tokenizer.encode("") == [bos, eos]
    assert tokenizer.encode("", add_special=False) == []
    assert tokenizer.decode([bos, *the, eos]) == "the"
    assert tokenizer.decode([bos, *the, eos], skip_special=False) == "<bos>the<eos>"
    assert (tokenizer.bos_id, tokenizer.eos_id) == (bos, eos)


def test_llama3_adds_bos_where_the_file_does_not_say() -> None:
    metadata = byte_pair_metadata(MERGES, SPECIAL, pre="llama-bpe", bos_token_id=264)
    assert Tokenizer.from_metadata(metadata).encode("the")[0] == 264


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_the_replacement_character(text: str) -> None:
    tokenizer = Tokenizer.from_metadata(byte_pair_metadata(MERGES))
    clean = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert tokenizer.encode(text) == tokenizer.encode(clean)


def test_a_text_put_into_the_vocabulary_as_it_is_comes_out_so() -> None:
    metadata = byte_pair_metadata([], {"日本": TokenKind.NORMAL})
    assert Tokenizer.from_metadata(metadata).decode([256]) == "日本"


def test_unused_tokens_have_no_text() -> None:
    metadata = byte_pair_metadata([], {"[PAD1]": TokenKind.UNUSED, "[x]": TokenKind.UNDEFINED})
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.decode([256, 257], skip_special=False) == ""


@pytest.mark.parametrize("token_id", [-1, 256, 10**20])
def test_an_id_that_is_no_token_is_refused(token_id: int) -> None:
    tokenizer = Tokenizer.from_metadata(byte_pair_metadata([]))
    for use in (tokenizer.token_bytes, tokenizer.stream().push, lambda i: tokenizer.decode([i])):
        with pytest.raises(OptionError, match="expected 0 to 255"):
            use(token_id)


def test_an_unknown_pre_tokenizer_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"'klingon'.*expected one of.*qwen2"):
        Tokenizer.from_metadata(byte_pair_metadata([], pre="klingon"))


@pytest.mark.parametrize("pre", ["", None])
def test_without_a_name_the_default_splits_are_used(pre: str | None) -> None:
    tokenizer = Tokenizer.from_metadata(byte_pair_metadata(["a !", "1 2", "! !"], pre=pre))
    assert pieces(tokenizer, "a!!12") == [b"a", b"!!", b"12"]


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_every_pre_tokenizer_keeps_the_text(name: str) -> None:
    metadata = byte_pair_metadata(MERGES, pre=name, add_bos_token=False)
    text = "It's 12345 día's\t\tЖ!!\r\n\n  日本語 \u3000x\u0301 ½ <= \x00 don't"
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "merges",
    [["t h", "x"], ["", "t h"], ["a q z"], ["th e"], [" "], ["\x00"]],
    ids=["one token", "empty", "unknown second", "unknown first", "a space", "a NUL"],
)
def test_bad_merges_are_refused(merges: list[str]) -> None:
    metadata = byte_pair_metadata([])
    metadata["tokenizer.ggml.merges"] = merges
    with pytest.raises(CheckpointError, match="merges of the vocabulary can't be used"):
        Tokenizer.from_metadata(metadata)
