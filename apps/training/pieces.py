"""Texts cut into the pieces that a draft is trained on."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slipstream.runtime.errors import OptionError
from slipstream.runtime.tokenizer import Tokenizer

SEPARATOR = "\x1e"  # the ASCII record separator, between documents of one file
_SHORTEST = 16  # tokens
HELD_OUT_EVERY = 20  # one piece of so many is not trained on


def read_pieces(paths: Sequence[Path], tokenizer: Tokenizer, window: int) -> list[list[int]]:
    """Token ids of all documents, in pieces of up to `window`, in an order of chance.

    Special tokens in the text count as such. Raises OptionError for a file that can't be read as
    UTF-8, or where all together are too short.
    """
    pieces = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"text: {path} can't be read as UTF-8 text: {error}") from None
        for document in text.split(SEPARATOR):
            tokens = tokenizer.encode(document.strip("\n"), parse_special=True)
            pieces += [tokens[first : first + window] for first in range(0, len(tokens), window)]
    pieces = [piece for piece in pieces if len(piece) >= _SHORTEST]
    if len(pieces) < 2:
        raise OptionError(
            f"text: expected at least 2 pieces of {_SHORTEST} tokens or more, got {len(pieces)}; "
            "give more text"
        )
    order = np.random.default_rng(0).permutation(len(pieces))
    return [pieces[index] for index in order]


def is_held_out(index: int) -> bool:
    """Whether a piece is for measuring; the first one is."""
    return index % HELD_OUT_EVERY == 0


def frequent_tokens(pieces: Sequence[Sequence[int]], count: int, vocab_size: int) -> np.ndarray:
    """The `count` most frequent tokens, ascending, int32; filled up with the first unused ones."""
    counts = Counter(token for piece in pieces for token in piece)
    ids = [token for token, _ in counts.most_common(count)]
    unused = (token for token in range(vocab_size) if token not in counts)
    ids += [token for _, token in zip(range(count - len(ids)), unused, strict=False)]
    return np.array(sorted(ids), np.int32)
