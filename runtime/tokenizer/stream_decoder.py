"""Text out of tokens as they come."""

import codecs
from collections.abc import Callable


class StreamDecoder:
    """Turns token ids into text piece by piece; the pieces joined are the whole text.

    A character whose bytes are spread over tokens comes out when its last byte does. A byte that
    can't be part of one comes out as U+FFFD as soon as that is certain.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        """token_bytes : the bytes that a token id stands for"""
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that is complete with this token, often "" in the middle of a character."""
        return self._decoder.decode(self._token_bytes(token_id))

    def flush(self) -> str:
        """U+FFFD if the tokens stopped in the middle of a character; then it starts afresh."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
