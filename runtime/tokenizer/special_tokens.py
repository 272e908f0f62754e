"""Finds the tokens that stand for themselves in a text, before the rest is split into words."""

from collections import defaultdict
from collections.abc import Mapping

_PREFIX_LENGTH = 4


class SpecialTokens:
    """A set of token texts to look for.

    Of overlapping ones the longest wins, wherever it starts, as in llama.cpp; a search from left
    to right would decide otherwise.
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        """ids : token id by text"""
        self._ids = dict(ids)
        # A vocabulary may hold thousands, nearly all starting alike and in no text: ask for the
        # few beginnings first.
        self._by_prefix: dict[str, list[str]] = defaultdict(list)
        for text in ids:
            self._by_prefix[text[:_PREFIX_LENGTH]].append(text)

    def split(self, text: str) -> list[str | int]:
        """The text in pieces: ids of the tokens found, and what lies between them."""
        pieces: list[str | int] = [text] if text else []
        for token_text in self._found_in(text):
            token_id = self._ids[token_text]
            parts: list[str | int] = []
            for piece in pieces:
                if isinstance(piece, int) or token_text not in piece:
                    parts.append(piece)
                    continue
                for between in piece.split(token_text):
                    if between:
                        parts.append(between)
                    parts.append(token_id)
                parts.pop()
            pieces = parts
        return pieces

    def _found_in(self, text: str) -> list[str]:
        """Token texts that the text contains, longest first, then by id."""
        found = [
            token_text
            for prefix, token_texts in self._by_prefix.items()
            if prefix in text
            for token_text in token_texts
            if token_text in text
        ]
        return sorted(found, key=lambda text: (-len(text.encode()), self._ids[text]))
