"""Byte-level byte-pair encoding: words become bytes, and pairs of pieces merge by rank.

Source: arXiv:1508.07909 over the bytes of GPT-2; files call it `gpt2`.
"""

from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers.models import BPE

from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.tokenizer.pre_tokenizers import PreTokenizer, pinned
from slipstream.runtime.tokenizer.vocabulary import Vocabulary


def _byte_characters() -> dict[str, int]:
    """The byte for each of the 256 characters that stand for bytes in vocabularies.

    Visible Latin-1 characters stand for themselves, the others for code points from 256 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    characters = {chr(byte): byte for byte in visible}
    return characters | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_characters()


class BytePairEncoder:
    """Encodes text that holds no special tokens."""

    leading_space = ""

    def __init__(
        self,
        vocabulary: Vocabulary,
        merges: Sequence[str],
        pre_tokenizer: PreTokenizer,
        path: Path,
    ) -> None:
        """merges : two token texts and a space between them each, first merged first

        150,000 merges take about 0.3 s. Raises CheckpointError, naming `path`, when one is
        something else.
        """
        self._num_tokens = len(vocabulary.texts)
        # Without a place in the vocabulary, a byte would vanish before the merges, and its
        # neighbours could merge.
        missing = [character for character in _BYTES if character not in vocabulary.ids]
        ids = {**vocabulary.ids, **{text: self._num_tokens + i for i, text in enumerate(missing)}}
        self._has_all_bytes = not missing
        try:
            # One that is there twice counts where it is first.
            distinct = merges if len(set(merges)) == len(merges) else list(dict.fromkeys(merges))
            pairs = [_split_merge(merge) for merge in distinct]
            model = BPE(ids, pairs, ignore_merges=pre_tokenizer.ignore_merges)
        except Exception as error:  # the library raises nothing more precise
            raise CheckpointError(
                f"{path}: the merges of the vocabulary can't be used: {error}; the file is damaged"
            ) from error
        self._tokenizer = tokenizers.Tokenizer(model)
        splits = [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(pinned(pattern)), "isolated")
            for pattern in pre_tokenizer.patterns
        ]
        to_bytes = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([*splits, to_bytes])

    def encode(self, text: str) -> list[int]:
        """Token ids. A byte that has no token is left out, as in llama.cpp."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not self._has_all_bytes:
            ids = [token_id for token_id in ids if token_id < self._num_tokens]
        return ids

    def text_bytes(self, token_text: str) -> bytes:
        """The bytes that a normal token stands for."""
        try:
            return bytes([_BYTES[character] for character in token_text])
        except KeyError:  # a text that was put into the vocabulary as it is
            return token_text.encode()


def _split_merge(merge: str) -> tuple[str, str]:
    first, space, second = merge.partition(" ")
    if first and space:
        return first, second
    # A space that starts the first token is part of it.
    middle = merge.find(" ", 1)
    if middle < 0:
        raise ValueError(f"expected two tokens and a space between them, got {merge[:40]!r}")
    return merge[:middle], merge[middle + 1 :]
