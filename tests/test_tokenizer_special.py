"""Special tokens: finding them in texts, their kinds, and which of them end an answer."""

import random

import pytest

from slipstream.runtime.tokenizer import Tokenizer
from slipstream.runtime.tokenizer.special_tokens import SpecialTokens
from slipstream.runtime.tokenizer.token_roles import TokenKind
from support.vocabularies import byte_pair_metadata, score_metadata

CONTROL, USER, NORMAL = TokenKind.CONTROL, TokenKind.USER_DEFINED, TokenKind.NORMAL


def ids_of(metadata: dict[str, object], *texts: str) -> list[int]:
    """Ids of tokens by their text."""
    return [metadata["tokenizer.ggml.tokens"].index(text) for text in texts]


def test_text_is_cut_at_special_tokens() -> None:
    special = SpecialTokens({"<a>": 1, "<b>": 2})
    assert special.split("x<a><b>y <a") == ["x", 1, 2, "y <a"]
    assert special.split("<a>") == [1]
    assert special.split("") == []


def test_the_longest_wins_even_if_another_starts_before() -> None:
    special = SpecialTokens({"ab": 1, "bcd": 2})
    assert special.split("abcd ab") == ["a", 2, " ", 1]


def test_length_is_in_bytes() -> None:
    special = SpecialTokens({"abc": 1, "c\u20ac": 2})
    assert special.split("abc\u20ac") == ["ab", 2]


def test_of_equally_long_ones_the_lower_id_wins() -> None:
    assert SpecialTokens({"bc": 7, "ab": 8}).split("abc") == ["a", 7]


def test_runs_are_cut_into_the_longest_from_the_left() -> None:
    special = SpecialTokens({"\n" * length: length for length in range(1, 32)})
    assert special.split("\n" * 70 + "x") == [31, 31, 8, "x"]


@pytest.mark.parametrize("seed", range(10))
def test_splitting_keeps_every_character(seed: int) -> None:
    dice = random.Random(seed)
    texts = {"".join(dice.choices("<ab>", k=dice.randint(1, 7))) for _ in range(30)}
    ids = {text: i for i, text in enumerate(sorted(texts))}
    text = "".join(dice.choices("<ab>c", k=500))
    back = {i: text for text, i in ids.items()}
    pieces = SpecialTokens(ids).split(text)
    assert "".join(back[p] if isinstance(p, int) else p for p in pieces) == text
    left = [p for p in pieces if isinstance(p, str)]
    assert not any(token in piece for token in texts for piece in left)


def test_control_tokens_are_text_unless_they_are_asked_for() -> None:
    metadata = byte_pair_metadata([], {"<|im_start|>": CONTROL, "<unk>": TokenKind.UNKNOWN})
    start, unknown = ids_of(metadata, "<|im_start|>", "<unk>")
    tokenizer = Tokenizer.from_metadata(metadata)
    text = "a<|im_start|>b<unk>"
    as_text = tokenizer.encode(text)
    assert start not in as_text
    assert unknown not in as_text
    assert tokenizer.decode(as_text) == text
    parsed = tokenizer.encode(text, parse_special=True)
    assert parsed == [*tokenizer.encode("a"), start, *tokenizer.encode("b"), unknown]
    assert tokenizer.decode(parsed) == "ab"
    assert tokenizer.decode(parsed, skip_special=False) == text


def test_user_defined_tokens_are_always_found_and_always_shown() -> None:
    metadata = byte_pair_metadata([], {"<tool_call>": USER})
    (call,) = ids_of(metadata, "<tool_call>")
    tokenizer = Tokenizer.from_metadata(metadata)
    for parse_special in (False, True):
        ids = tokenizer.encode("a<tool_call>", parse_special=parse_special)
        assert ids[-1] == call
        assert tokenizer.decode(ids) == "a<tool_call>"


def test_ends_are_named_by_key_or_known_by_text() -> None:
    special = {"<e>": CONTROL, "<t>": CONTROL, "<m>": CONTROL, "<|im_end|>": CONTROL, "x": CONTROL}
    metadata = score_metadata({"a": 0.0}, special)
    e, t, m, end = ids_of(metadata, "<e>", "<t>", "<m>", "<|im_end|>")
    for role, token_id in (("eos", e), ("eot", t), ("eom", m)):
        metadata[f"tokenizer.ggml.{role}_token_id"] = token_id
    # </s> is the end of text of this kind of vocabulary even where another is named.
    (close,) = ids_of(metadata, "</s>")
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.end_ids == {e, t, m, end, close}
    assert tokenizer.eos_id == e


def test_known_ends_are_control_tokens_whatever_the_file_says() -> None:
    metadata = byte_pair_metadata([], {"<end_of_turn>": NORMAL, "<|fim_prefix|>": NORMAL})
    end, fill = ids_of(metadata, "<end_of_turn>", "<|fim_prefix|>")
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.end_ids == {end}
    assert tokenizer.decode([end, fill]) == ""
    parsed = tokenizer.encode("<end_of_turn><|fim_prefix|>", parse_special=True)
    assert parsed == [end, fill]


def test_padding_and_separators_of_files_end_an_answer() -> None:
    texts = ["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|fim_middle|>"]
    metadata = byte_pair_metadata([], dict.fromkeys(texts, CONTROL))
    assert Tokenizer.from_metadata(metadata).end_ids == set(ids_of(metadata, *texts[:3]))


def test_a_fill_token_that_is_named_leaves_its_namesake_alone() -> None:
    metadata = byte_pair_metadata([], {"<mine>": CONTROL, "<PRE>": NORMAL, "<SUF>": NORMAL})
    mine, prefix, suffix = ids_of(metadata, "<mine>", "<PRE>", "<SUF>")
    metadata["tokenizer.ggml.fim_pre_token_id"] = mine
    metadata["tokenizer.ggml.suffix_token_id"] = mine
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.decode([prefix, suffix]) == "<PRE><SUF>"


@pytest.mark.parametrize("others", [["<|return|>", "<|call|>"], ["<|calls|>", "<|flush|>"]])
def test_end_is_not_the_end_beside_call_and_return(others: list[str]) -> None:
    texts = ["<|end|>", "<|channel|>", *others]
    metadata = byte_pair_metadata([], dict.fromkeys(texts, CONTROL))
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.end_ids == set(ids_of(metadata, *others))
    # Both are shown, since they frame the parts of an answer.
    assert tokenizer.decode(ids_of(metadata, "<|end|>", "<|channel|>")) == "<|end|><|channel|>"


def test_a_normal_token_that_looks_like_the_end_of_text() -> None:
    texts = ["</s>", "<|tool_response>"]
    metadata = byte_pair_metadata([], dict.fromkeys(texts, CONTROL))
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.end_ids == set(ids_of(metadata, "<|tool_response>"))
    assert tokenizer.decode(ids_of(metadata, "</s>")) == "</s>"
