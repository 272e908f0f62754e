"""Merging the pieces of words into tokens: byte-pair encoding, and by scores."""

from dataclasses import dataclass

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import FIND_MERGED, MERGE_WORDS
from slipstream.cpu_kernels.compiled.text_table import TextTable
from slipstream.cpu_kernels.errors import ShapeError, expect_array

NO_COST = -(1 << 31)
_MOST_WORD_BYTES = (1 << 31) - 1  # pieces are 32-bit places


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCosts:
    """What it costs to make a token of two neighbours; the least is made first.

    costs  : int32 above NO_COST; by token, or those of token t are costs[first[t] : first[t + 1]]
    first  : (len(tokens) + 1,) int32, None where costs are by token
    splits : int32, for each cost the bytes of the first neighbour; None where first is
    """

    costs: np.ndarray
    first: np.ndarray | None = None
    splits: np.ndarray | None = None


def merge_costs(tokens: np.ndarray, splits: np.ndarray, num_tokens: int) -> MergeCosts:
    """The costs of merges that are made in their order; of equal merges the first counts.

    tokens, splits : from `find_merged`
    """
    keys = tokens.astype(np.int64) << 32 | splits
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    is_first = np.ones(keys.size, np.bool_)
    is_first[1:] = keys[1:] != keys[:-1]
    order = order[is_first]
    first = np.zeros(num_tokens + 1, np.int32)
    np.cumsum(np.bincount(tokens[order], minlength=num_tokens), out=first[1:])
    return MergeCosts(costs=order.astype(np.int32), first=first, splits=splits[order])


def find_merged(
    table: TextTable, stored: np.ndarray, num_merges: int
) -> tuple[np.ndarray, np.ndarray]:
    """What merges make.

    stored : as for TextTable; two texts and a space between them each, which is not the first byte
    Returns (num_merges,) int32, the token, -1 where there is none or the merge is something else,
    and (num_merges,) int32, the bytes of the first text.
    """
    expect_array("stored", stored, np.uint8, (stored.size,))
    tokens, splits = np.empty(num_merges, np.int32), np.empty(num_merges, np.int32)
    Call.of(
        load_kernel("merge_words.find_merged"),
        FIND_MERGED,
        table=table.address,
        stored=stored,
        stored_bytes=stored.size,
        num_merges=num_merges,
        tokens=tokens,
        splits=splits,
    ).run(0)
    return tokens, splits


def merge_words(
    table: TextTable,
    costs: MergeCosts,
    words: bytes,
    ends: np.ndarray,
    *,
    byte_tokens: np.ndarray | None = None,
    takes_whole_words: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the best pair of neighbours in each word, the leftmost of equals, while there is one.

    words             : in UTF-8, with one byte after each
    ends              : (num_words,) int64, where each word ends
    byte_tokens       : (256,) int32, for the bytes of a piece that is no token; else it is left out
    takes_whole_words : a word that is a token is not merged
    Returns tokens int32 and (num_words + 1,) int64, where in them each word's and one more begin.
    """
    longest = _longest_word(words, ends)
    starts, tokens = np.empty(ends.size + 1, np.int64), np.empty(len(words), np.int32)
    Call.of(
        load_kernel("merge_words.merge_words"),
        MERGE_WORDS,
        table=table.address,
        longest=table.longest,
        first=costs.first,
        splits=costs.splits,
        costs=costs.costs,
        byte_tokens=byte_tokens,
        takes_whole_words=takes_whole_words,
        words=np.asarray(memoryview(words)),
        ends=ends,
        num_words=ends.size,
        sizes=np.empty(longest, np.int32),
        before=np.empty(longest, np.int32),
        merged=np.empty(longest, np.int32),
        heap=np.empty((2 * longest, 2), np.int64),
        tokens=tokens,
        token_starts=starts,
    ).run(0)
    return tokens[: starts[-1]], starts


def _longest_word(words: bytes, ends: np.ndarray) -> int:
    """Bytes of the longest word. Raises ShapeError unless `ends` are the ends of words."""
    expect_array("ends", ends, np.int64, (ends.size,))
    sizes = np.diff(ends, prepend=-1) - 1
    if sizes.min(initial=0) < 0 or sizes.sum() + sizes.size != len(words):
        raise ShapeError("ends: expected the ends of all words, ascending")
    longest = int(sizes.max(initial=0))
    if longest > _MOST_WORD_BYTES:
        raise ShapeError(f"words: expected at most {_MOST_WORD_BYTES} bytes each, got {longest}")
    return longest
