"""SentencePiece-style encoding: neighbouring pieces merge into the token with the best score.

Files call it `llama` and hold a score for each token instead of a list of merges. The order of
merging is llama.cpp's. Source: arXiv:1808.06226.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from slipstream.runtime.tokenizer.vocabulary import Vocabulary

_SPACE = "\u2581"  # stands for a space in vocabularies


class ScoreMergeEncoder:
    """Encodes text that holds no special tokens."""

    def __init__(self, vocabulary: Vocabulary, scores: np.ndarray, leading_space: str) -> None:
        """scores : by token id; the highest is merged first"""
        from slipstream.cpu_kernels.compiled.merge_words import MergeCosts

        self.leading_space = leading_space
        self._texts = vocabulary.texts
        self._costs = MergeCosts(costs=costs_of(scores))
        unknown_id = vocabulary.unknown_id or 0
        self._byte_ids = np.array([self._byte_id(b, unknown_id) for b in range(256)], np.int32)

    def _byte_id(self, byte: int, unknown_id: int) -> int:
        names = [f"<0x{byte:02X}>", chr(byte)] if byte < 128 else [f"<0x{byte:02X}>"]
        found = (self._texts.find(name) for name in names)
        return next((token_id for token_id in found if token_id is not None), unknown_id)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        from slipstream.cpu_kernels.compiled.merge_words import merge_words

        words = [text.replace(" ", _SPACE).encode() for text in texts]
        ids, starts = merge_words(
            self._texts,
            self._costs,
            b"".join(word + b"\n" for word in words),
            np.cumsum([len(word) + 1 for word in words], dtype=np.int64) - 1,
            byte_tokens=self._byte_ids,
        )
        of_all = ids.tolist()
        return [of_all[start:end] for start, end in pairwise(starts.tolist())]

    def text_bytes(self, token_text: str) -> bytes:
        """The bytes that a normal token stands for."""
        return token_text.replace(_SPACE, " ").encode()


def costs_of(scores: np.ndarray) -> np.ndarray:
    """int32 in the opposite order of the scores, equal where they are."""
    if scores.dtype != np.float32:  # only their order counts
        scores = np.unique(scores, return_inverse=True)[1].astype(np.float32)
    bits = (np.float32(0) - scores).view(np.int32)  # there is no -0.0 among them
    # Of negative numbers, a larger one has smaller bits.
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
