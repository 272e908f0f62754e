"""Tokenisation equals llama.cpp's: of real models, and of every pre-tokenizer."""

import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.runtime.catalogue import CATALOGUE, resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CatalogueError
from slipstream.runtime.tokenizer import Tokenizer
from slipstream.runtime.tokenizer.pre_tokenizers import PRE_TOKENIZERS
from slipstream.runtime.tokenizer.token_roles import (
    END_TEXTS,
    FILL_TEXTS,
    VISIBLE_TEXTS,
    TokenKind,
)
from support.llamacpp_tokens import (
    CHUNK,
    LlamaCppTokenizer,
    chunk_hashes,
    golden_path,
    texts_hash,
    without_surrogates,
)
from support.torture_text import torture_texts
from support.vocabularies import BYTE_TOKENS, byte_pair_metadata, score_metadata, write_vocabulary

TEXTS = torture_texts()

CASED_WORDS = {"tekken", "gpt-4o", "llama4", "kanana2", "minimax-m2"}
WIDE_CLASSES = {"deepseek-llm", "deepseek-coder"}


def departs(name: str, text: str) -> bool:
    """Whether llama.cpp may split the text unlike the published pre-tokenizer, which is ours.

    It knows case and combining marks outside of ASCII only approximately, and takes Unicode spaces
    out of the ranges that hold them.
    """
    if name in WIDE_CLASSES:
        return re.search("[\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]", text) is not None
    unsure = {"Lu", "Ll", "Lt", "Lm", "Mn", "Mc", "Me", "Cn"}
    return name in CASED_WORDS and any(
        not character.isascii() and unicodedata.category(character) in unsure for character in text
    )


@pytest.fixture(scope="module", params=CATALOGUE)
def model(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A catalogue model and its file."""
    try:
        return request.param, resolve(request.param)
    except CatalogueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tokenizer(model: tuple[str, Path]) -> Tokenizer:
    with ModelFile.open(model[1]) as file:
        return Tokenizer.from_metadata(file.metadata)


@pytest.fixture(scope="module")
def llama_cpp(model: tuple[str, Path]) -> LlamaCppTokenizer:
    return LlamaCppTokenizer(model[1])


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_torture_texts_are_the_recorded_ones(name: str) -> None:
    """Otherwise record them anew; see `support.llamacpp_tokens`."""
    assert json.loads(golden_path(name).read_text())["texts"] == texts_hash()


def test_there_are_enough_torture_texts() -> None:
    assert len(set(TEXTS)) > 2500


@pytest.mark.model
@pytest.mark.llamacpp
@pytest.mark.parametrize("parse_special", [False, True])
def test_equals_llama_cpp(
    tokenizer: Tokenizer, llama_cpp: LlamaCppTokenizer, parse_special: bool
) -> None:
    for text in [*TEXTS, without_surrogates("\n".join(TEXTS))]:
        want = llama_cpp.encode(text, parse_special=parse_special)
        assert tokenizer.encode(text, parse_special=parse_special) == want, repr(text)


@pytest.mark.model
@pytest.mark.llamacpp
def test_every_token_has_the_bytes_that_llama_cpp_gives_it(
    tokenizer: Tokenizer, llama_cpp: LlamaCppTokenizer
) -> None:
    for token_id in range(tokenizer.vocab_size):
        assert tokenizer.token_bytes(token_id) == llama_cpp.token_bytes(token_id), token_id
    assert tokenizer.end_ids == llama_cpp.end_ids()


@pytest.mark.model
@pytest.mark.parametrize("parse_special", [False, True])
def test_equals_what_llama_cpp_was_recorded_to_do(
    model: tuple[str, Path], tokenizer: Tokenizer, parse_special: bool
) -> None:
    record: dict[str, Any] = json.loads(golden_path(model[0]).read_text())
    want = record["special" if parse_special else "plain"]
    ids = [tokenizer.encode(text, parse_special=parse_special) for text in TEXTS]
    assert {i: ids[int(i)] for i in want["samples"]} == want["samples"]
    hashes = chunk_hashes(ids)
    assert len(hashes) == len(want["hashes"])
    differing = [i * CHUNK for i, hash_ in enumerate(hashes) if hash_ != want["hashes"][i]]
    assert differing == [], f"texts from these on, {CHUNK} each, are tokenised differently"
    assert tokenizer.end_ids == set(record["end_ids"])


@pytest.mark.model
@pytest.mark.parametrize("parse_special", [False, True])
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, parse_special: bool) -> None:
    """Where the model allows: SmolLM2 has no token for some bytes, and Gemma's space sign is one.

    A control token's text, which llama.cpp may find in plain text too, is shown on request.
    """
    covered = {tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)}
    is_score_merge = tokenizer.decode(tokenizer.encode("\u2581", add_special=False)) == " "
    num_checked = 0
    for text in map(without_surrogates, TEXTS):
        if any(bytes([byte]) not in covered for byte in text.encode()):
            continue
        if is_score_merge and "\u2581" in text:
            continue
        ids = tokenizer.encode(text, add_special=False, parse_special=parse_special)
        assert tokenizer.decode(ids, skip_special=False) == text
        stream = tokenizer.stream()
        assert "".join(map(stream.push, ids)) + stream.flush() == tokenizer.decode(ids)
        num_checked += 1
    assert num_checked > 0.9 * len(TEXTS)


@pytest.fixture(scope="module")
def trained_merges() -> list[str]:
    """Merges trained across words, so that any difference in splitting shows in the tokens."""
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    trained = tokenizers.Tokenizer(BPE())
    trained.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = BpeTrainer(
        vocab_size=5000, initial_alphabet=BYTE_TOKENS, show_progress=False, max_token_length=16
    )
    trained.train_from_iterator(map(without_surrogates, TEXTS), trainer)
    return [" ".join(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]


@pytest.mark.llamacpp
@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_every_pre_tokenizer_splits_as_llama_cpp_does(
    name: str, trained_merges: list[str], tmp_path: Path
) -> None:
    metadata = byte_pair_metadata(trained_merges, pre=name, bos_token_id=1, eos_token_id=2)
    path = tmp_path / "vocabulary.gguf"
    write_vocabulary(path, metadata)
    llama_cpp, tokenizer = LlamaCppTokenizer(path), Tokenizer.from_metadata(metadata)
    texts = [text for text in TEXTS[::4] if not departs(name, text)]
    assert len(texts) > 200
    for text in texts:
        want = llama_cpp.encode(text, parse_special=False)
        assert tokenizer.encode(text) == want, repr(text)


@pytest.mark.llamacpp
@pytest.mark.parametrize("seed", range(12))
def test_roles_by_text_are_those_that_llama_cpp_gives(seed: int, tmp_path: Path) -> None:
    """On random choices of the known texts, of all kinds."""
    dice = random.Random(seed)
    texts = [text for text in [*END_TEXTS, *VISIBLE_TEXTS] if dice.random() < 0.4]
    # Of several texts for one role, llama.cpp takes any.
    texts += [dice.choice(texts) for texts in FILL_TEXTS.values() if dice.random() < 0.7]
    kinds = [TokenKind.NORMAL, TokenKind.CONTROL, TokenKind.USER_DEFINED]
    special = {text: dice.choice(kinds) for text in dict.fromkeys(texts)}
    metadata = byte_pair_metadata(["a b"], special, bos_token_id=1, eos_token_id=2)
    metadata |= {f"tokenizer.ggml.{role}_token_id": dice.randrange(256) for role in ("eot", "eom")}
    path = tmp_path / "vocabulary.gguf"
    write_vocabulary(path, metadata)
    llama_cpp, tokenizer = LlamaCppTokenizer(path), Tokenizer.from_metadata(metadata)
    assert tokenizer.end_ids == llama_cpp.end_ids()
    for token_id in range(tokenizer.vocab_size):
        assert tokenizer.token_bytes(token_id) == llama_cpp.token_bytes(token_id)
    text = "a".join(texts)
    for parse_special in (False, True):
        want = llama_cpp.encode(text, parse_special=parse_special)
        assert tokenizer.encode(text, parse_special=parse_special) == want


@pytest.mark.llamacpp
@pytest.mark.parametrize("adds_leading_space", [False, True])
def test_score_merging_equals_llama_cpp(adds_leading_space: bool, tmp_path: Path) -> None:
    """With a vocabulary of the texts' own words, and user-defined and misnamed special tokens."""
    words = sorted({word for text in TEXTS[:400] for word in text.split(" ") if 0 < len(word) < 12})
    parts = {word[:end] for word in words for end in range(1, len(word) + 1)}
    dice = np.random.default_rng(0)
    pieces = {
        ("\u2581" if i % 3 else "") + without_surrogates(part): -float(dice.integers(50))
        for i, part in enumerate(sorted(parts))
    }
    pieces |= {"\u2581": -60.0, ">\u2581<": -1.0, "<end_of_turn>": -5.0}
    special = {
        "\t\t": TokenKind.USER_DEFINED,
        "  ": TokenKind.USER_DEFINED,
        "<s": TokenKind.CONTROL,
    }
    metadata = score_metadata(
        {piece: score for piece, score in pieces.items() if piece not in special},
        special,
        add_space_prefix=adds_leading_space,
        add_bos_token=True,
        add_eos_token=True,
    )
    path = tmp_path / "vocabulary.gguf"
    write_vocabulary(path, metadata)
    llama_cpp, tokenizer = LlamaCppTokenizer(path), Tokenizer.from_metadata(metadata)
    assert tokenizer.end_ids == llama_cpp.end_ids()
    for token_id in range(tokenizer.vocab_size):
        assert tokenizer.token_bytes(token_id) == llama_cpp.token_bytes(token_id)
    for text in TEXTS:
        for parse_special in (False, True):
            want = llama_cpp.encode(text, parse_special=parse_special)
            assert tokenizer.encode(text, parse_special=parse_special) == want, repr(text)
