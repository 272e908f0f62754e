"""SentencePiece-style encoding: neighbouring pieces merge into the token with the best score.

Files call it `llama` and hold a score for each token instead of a list of merges. The order of
merging is llama.cpp's. Source: arXiv:1808.06226.
"""

import re
from collections.abc import Sequence

from slipstream.runtime.tokenizer.merging import merge_neighbours, remembered
from slipstream.runtime.tokenizer.vocabulary import Vocabulary

_SPACE = "\u2581"  # stands for a space in vocabularies


class ScoreMergeEncoder:
    """Encodes text that holds no special tokens."""

    def __init__(self, vocabulary: Vocabulary, scores: Sequence[float], leading_space: str) -> None:
        """scores : by token id; the highest is merged first"""
        self.leading_space = leading_space
        self._ids = vocabulary.ids
        self._costs = [-score for score in scores]
        unknown_id = vocabulary.unknown_id or 0
        self._byte_ids = [self._byte_id(byte, unknown_id) for byte in range(256)]
        self._word_starts = _word_starts(vocabulary.texts)
        self._word_ids = remembered(self._merge)

    def _byte_id(self, byte: int, unknown_id: int) -> int:
        names = [f"<0x{byte:02X}>", chr(byte)] if byte < 128 else [f"<0x{byte:02X}>"]
        return next((self._ids[name] for name in names if name in self._ids), unknown_id)

    def encode(self, text: str) -> list[int]:
        """Token ids of the text."""
        ids: list[int] = []
        for word in self._word_starts.split(text.replace(" ", _SPACE)):
            ids.extend(self._word_ids(word))
        return ids

    def text_bytes(self, token_text: str) -> bytes:
        """The bytes that a normal token stands for."""
        return token_text.replace(_SPACE, " ").encode()

    def _merge(self, word: str) -> list[int]:
        """Merge the characters of a word for as long as two neighbours make a token."""
        pieces = merge_neighbours(list(word), self._cost)
        return [token_id for piece in pieces for token_id in self._piece_ids(piece)]

    def _cost(self, first: str, second: str) -> float | None:
        token_id = self._ids.get(first + second)
        return None if token_id is None else self._costs[token_id]

    def _piece_ids(self, piece: str) -> list[int]:
        """The token of a piece, or tokens for its bytes."""
        token_id = self._ids.get(piece)
        if token_id is not None:
            return [token_id]
        return [self._byte_ids[byte] for byte in piece.encode()]


def _word_starts(texts: Sequence[str]) -> re.Pattern[str]:
    """Where a text can be cut and encoded in parts: at spaces that no token has inside it.

    Nearly all tokens have spaces at their start only, so nearly every word can be looked up among
    those encoded before.
    """
    across = {
        before
        for text in texts
        if text.rfind(_SPACE) > 0
        for before in re.findall(f"([^{_SPACE}]){_SPACE}", text)
    }
    glued = "".join(map(re.escape, sorted(across)))
    return re.compile(f"(?<=[^{_SPACE}{glued}])(?={_SPACE})")
