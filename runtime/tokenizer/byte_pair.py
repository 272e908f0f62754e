"""Byte-level byte-pair encoding: words become bytes, and pairs of pieces merge by rank.

Source: arXiv:1508.07909 over the bytes of GPT-2; files call it `gpt2`.
"""

from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizerSequence

from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.tokenizer.merging import merge_neighbours, remembered
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
    """Encodes text that holds no special tokens.

    Pairs are merged here and not by the `tokenizers` library, whose BPE takes 0.24 s and 40 MB for
    152k tokens (docs/decisions.md). Words that came before are looked up.
    """

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
        self._ids = vocabulary.ids
        self._takes_whole_words = pre_tokenizer.ignore_merges
        problem = _problem_of(merges, vocabulary.ids)
        if problem is not None:
            raise CheckpointError(
                f"{path}: the merges of the vocabulary can't be used: {problem}; the file is "
                "damaged"
            )
        # A pair that is there twice counts where it is first.
        self._ranks = dict(zip(reversed(merges), range(len(merges) - 1, -1, -1), strict=True))
        splits = [Split(Regex(pinned(pattern)), "isolated") for pattern in pre_tokenizer.patterns]
        to_bytes = ByteLevel(add_prefix_space=False, use_regex=False)
        self._words = PreTokenizerSequence([*splits, to_bytes])
        self._word_ids = remembered(self._merge)

    def encode(self, text: str) -> list[int]:
        """Token ids. A byte that has no token is left out, as in llama.cpp."""
        ids: list[int] = []
        for word, _place in self._words.pre_tokenize_str(text):
            ids.extend(self._word_ids(word))
        return ids

    def _merge(self, word: str) -> list[int]:
        whole = self._ids.get(word)
        if whole is not None and (self._takes_whole_words or len(word) == 1):
            return [whole]
        pieces = merge_neighbours(list(word), self._rank)
        return [self._ids[piece] for piece in pieces if piece in self._ids]

    def _rank(self, first: str, second: str) -> int | None:
        return self._ranks.get(f"{first} {second}")

    def text_bytes(self, token_text: str) -> bytes:
        """The bytes that a normal token stands for."""
        try:
            return bytes([_BYTES[character] for character in token_text])
        except KeyError:  # a text that was put into the vocabulary as it is
            return token_text.encode()


def _problem_of(merges: Sequence[str], ids: Mapping[str, int]) -> str | None:
    """What is wrong with the first merge that is no pair or makes no token, if there is one."""
    # All at once first: one by one, 150,000 merges take 0.1 s.
    if set(map(str.count, merges, repeat(" "))) == {1}:
        made = "\n".join(merges).replace(" ", "").split("\n")
        if all(map(ids.__contains__, made)):
            return None
    for merge in merges:
        # A space that starts the first token is part of it.
        middle = merge.find(" ", 1)
        if middle < 0:
            return f"expected two tokens and a space between them, got {merge[:40]!r}"
        text = merge[:middle] + merge[middle + 1 :]
        if text not in ids:
            return f"{merge[:40]!r} needs the token {text[:40]!r}, which is not there"
    return None
