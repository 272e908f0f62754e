"""The kernels of `merge_words`: what merges make, and merging the pieces of words.

A piece is a range of its word's bytes and goes by the byte where it begins. `sizes` has its bytes,
0 where no piece begins any more, so the next one begins at the sum; `before` has the piece before.
"""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    bytes_at,
    counts_at,
    ints_at,
    record_at,
    words_at,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.heap import pop_least, push
from slipstream.cpu_kernels.compiled.kernels.text_table import (
    LENGTH_BYTES,
    entry_at,
    find_id,
    find_slot,
    length_at,
)
from slipstream.cpu_kernels.compiled.records import FIND_MERGED, MERGE_WORDS

_SPACE = 0x20
_LOW = (1 << 32) - 1
_record_at = record_at(MERGE_WORDS)
_find_merged_at = record_at(FIND_MERGED)


@kernel()
def find_merged(_state: Any, record: Any) -> None:
    """The token that each merge makes, and where its first part ends."""
    r = _find_merged_at(record)
    tokens, splits = ints_at(r.tokens, (r.num_merges,)), counts_at(r.splits, (r.num_merges,))
    at = 0
    for i in range(r.num_merges):
        tokens[i], splits[i] = -1, 0
        length = length_at(r.stored, at, r.stored_bytes)
        if length < 0:
            tokens[i:] = -1
            return
        text = r.stored + at + LENGTH_BYTES
        split = _split_of(text, length)
        if split < length:
            slot = find_slot(r.table, text, split, text + split + 1, length - split - 1)
            tokens[i], splits[i] = entry_at(r.table, slot), split
        at += LENGTH_BYTES + length


@kernel()
def _split_of(text, length):
    """Where a merge's space is, its length if it has none.

    A space that starts the first token is part of it. One inside of a character is none.
    """
    data = bytes_at(text, (length,))
    for k in range(1, length):
        if data[k] == _SPACE:
            return length if k + 1 < length and data[k + 1] & 0xC0 == 0x80 else k
    return length


@kernel()
def merge_words(_state: Any, record: Any) -> None:
    """The tokens of every word, and where each word's begin."""
    r = _record_at(record)
    ends, starts = words_at(r.ends, (r.num_words,)), words_at(r.token_starts, (r.num_words + 1,))
    start = num_tokens = 0
    for w in range(r.num_words):
        starts[w] = num_tokens
        word, num_bytes = r.words + start, ends[w] - start
        whole = find_id(r.table, word, num_bytes) if r.takes_whole_words else -1
        if whole >= 0:
            ints_at(r.tokens, (num_tokens + 1,))[num_tokens] = whole
            num_tokens += 1
        else:
            _merge(record, word, num_bytes)
            num_tokens += _write_tokens(record, word, num_bytes, r.tokens + 4 * num_tokens)
        start = ends[w] + 1
    starts[r.num_words] = num_tokens


@kernel()
def _merge(record, word, num_bytes):
    """Merge the best pair of neighbours, the leftmost of equals, for as long as there is one."""
    r = _record_at(record)
    sizes, before = ints_at(r.sizes, (num_bytes,)), ints_at(r.before, (num_bytes,))
    merged, heap = ints_at(r.merged, (num_bytes,)), words_at(r.heap, (2 * num_bytes, 2))
    _cut_into_characters(word, sizes, before, merged)
    queued = left = 0
    while left < num_bytes:
        queued = _offer(record, word, num_bytes, left, heap, queued)
        left += sizes[left]
    while queued:
        left, (end, token) = np.int64(heap[0, 0] & _LOW), _halves(heap[0, 1])
        queued = pop_least(heap, queued)
        right = left + sizes[left]
        # Either may have grown, or have been merged away, since this was queued.
        if not sizes[left] or right >= num_bytes or right + sizes[right] != end:
            continue
        sizes[left], sizes[right], merged[left] = end - left, 0, token
        if end < num_bytes:
            before[end] = left
        if before[left] >= 0:
            queued = _offer(record, word, num_bytes, np.int64(before[left]), heap, queued)
        queued = _offer(record, word, num_bytes, left, heap, queued)


@kernel()
def _cut_into_characters(word, sizes, before, merged):
    data = bytes_at(word, (sizes.size,))
    start, previous = 0, -1
    while start < sizes.size:
        size = 1
        while start + size < sizes.size and data[start + size] & 0xC0 == 0x80:
            sizes[start + size] = 0
            size += 1
        sizes[start], before[start], merged[start] = size, previous, -1
        previous = start
        start += size


@kernel()
def _offer(record, word, num_bytes, left, heap, queued):
    """Queue a piece and the next one if they can merge; returns how many are queued."""
    r = _record_at(record)
    sizes = ints_at(r.sizes, (num_bytes,))
    right = left + sizes[left]
    if right >= num_bytes:
        return queued
    end = right + sizes[right]
    if end - left > r.longest:
        return queued
    token = find_id(r.table, word + left, end - left)
    cost = -1 if token < 0 else _cost(record, token, right - left)
    return queued if cost < 0 else push(heap, queued, cost << 32 | left, end << 32 | token)


@kernel()
def _cost(record, token, split):
    """Of making a token of two parts, the first of `split` bytes; -1 if no merge does."""
    r = _record_at(record)
    if not r.first:
        return np.int64(counts_at(r.costs, (token + 1,))[token])
    first = counts_at(r.first, (token + 2,))
    begin, end = np.int64(first[token]), np.int64(first[token + 1])
    splits, costs = counts_at(r.splits, (end,)), counts_at(r.costs, (end,))
    for k in range(begin, end):
        if splits[k] == split:
            return np.int64(costs[k])
    return -1


@kernel()
def _halves(word):
    return word >> 32, word & _LOW


@kernel()
def _write_tokens(record, word, num_bytes, tokens_at):
    """Write the token of each piece; returns how many.

    A piece that is none becomes the tokens of its bytes, or is left out where they have none.
    """
    r = _record_at(record)
    sizes, merged = ints_at(r.sizes, (num_bytes,)), ints_at(r.merged, (num_bytes,))
    data, tokens = bytes_at(word, (num_bytes,)), ints_at(tokens_at, (num_bytes,))
    byte_tokens = ints_at(r.byte_tokens, (256,))
    at = count = 0
    while at < num_bytes:
        size = np.int64(sizes[at])
        token = np.int64(merged[at])
        if token < 0:
            token = find_id(r.table, word + at, size)
        if token >= 0:
            tokens[count] = token
            count += 1
        elif r.byte_tokens:
            for k in range(at, at + size):
                tokens[count] = byte_tokens[data[k]]
                count += 1
        at += size
    return count
