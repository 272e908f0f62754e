"""Byte-level byte-pair encoding: words become bytes, and pairs of pieces merge by rank.

Source: arXiv:1508.07909 over the bytes of GPT-2; files call it `gpt2`.
"""

from codecs import charmap_decode
from collections.abc import Sequence
from itertools import accumulate, chain, count, pairwise
from pathlib import Path

import numpy as np

from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.tokenizer.pre_tokenizers import PreTokenizer
from slipstream.runtime.tokenizer.vocabulary import Vocabulary, stored_texts
from slipstream.runtime.tokenizer.word_splitter import WordSplitter


def _byte_characters() -> str:
    """The 256 characters that stand for bytes in vocabularies.

    Visible Latin-1 characters stand for themselves, the others for code points from 256 on.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = count(256)
    return "".join(chr(byte if byte in visible else next(others)) for byte in range(256))


_CHARACTERS = _byte_characters()
_BYTES = {character: byte for byte, character in enumerate(_CHARACTERS)}
# What parts words: a byte that no UTF-8 has, which becomes a character that stands for none.
_END = b"\xff".decode(errors="surrogateescape")
_CHARACTERS_AND_END = _CHARACTERS[:0xFF] + "\n"


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

        Raises CheckpointError, naming `path`, when one is something else.
        """
        from slipstream.cpu_kernels.compiled.merge_words import find_merged, merge_costs

        self._texts = vocabulary.texts
        self._takes_whole_words = pre_tokenizer.ignore_merges
        tokens, splits = find_merged(self._texts, stored_texts(merges), len(merges))
        for merge_id in np.flatnonzero(tokens < 0)[:1].tolist():
            raise CheckpointError(
                f"{path}: the merges of the vocabulary can't be used: "
                f"{_problem_of(merges[merge_id])}; the file is damaged"
            )
        self._costs = merge_costs(tokens, splits, len(self._texts))
        self._splitter = WordSplitter(pre_tokenizer.patterns)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text. A byte that has no token is left out, as in llama.cpp."""
        from slipstream.cpu_kernels.compiled.merge_words import merge_words

        by_text = [self._splitter.split(text) for text in texts]
        joined = _END.join([*chain.from_iterable(by_text), ""]).encode(errors="surrogateescape")
        words = charmap_decode(joined, "strict", _CHARACTERS_AND_END)[0].encode()
        ends = np.flatnonzero(np.frombuffer(words, np.uint8) == ord("\n"))
        ids, starts = merge_words(
            self._texts, self._costs, words, ends, takes_whole_words=self._takes_whole_words
        )
        of_all = ids.tolist()
        of_texts = starts[[*accumulate(map(len, by_text), initial=0)]]
        return [of_all[start:end] for start, end in pairwise(of_texts.tolist())]

    def text_bytes(self, token_text: str) -> bytes:
        """The bytes that a normal token stands for."""
        try:
            return bytes([_BYTES[character] for character in token_text])
        except KeyError:  # a text that was put into the vocabulary as it is
            return token_text.encode()


def _problem_of(merge: str) -> str:
    """What is wrong with a merge that is no pair or makes no token."""
    # A space that starts the first token is part of it.
    middle = merge.find(" ", 1)
    if middle < 0:
        return f"expected two tokens and a space between them, got {merge[:40]!r}"
    text = merge[:middle] + merge[middle + 1 :]
    return f"{merge[:40]!r} needs the token {text[:40]!r}, which is not there"
