"""The kernels of `merge_words`: what merges make, and merging the pieces of words.

A piece is a range of its word's bytes and goes by the byte where it begins. `sizes` has its bytes,
0 where no piece begins any more, so the next one begins at the sum; `before` has the piece before.
"""

from typing import Any

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    ZERO,
    load_i32,
    load_i64,
    load_u8,
    record_at,
    store_i32,
    store_i64,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.heap import drop_least, push
from slipstream.cpu_kernels.compiled.kernels.text_table import (
    find_id,
    find_slot,
    id_in,
    length_at,
)
from slipstream.cpu_kernels.compiled.merge_words import NO_COST
from slipstream.cpu_kernels.compiled.records import FIND_MERGED, MERGE_WORDS
from slipstream.cpu_kernels.compiled.text_table import LENGTH_BYTES

_SPACE = 0x20
_LOW = (1 << 32) - 1
_record_at = record_at(MERGE_WORDS)
_find_merged_at = record_at(FIND_MERGED)


@kernel()
def find_merged(_state: Any, record: Any) -> None:
    """The token that each merge makes, and where its first part ends."""
    r = _find_merged_at(record)
    at = ZERO
    for i in range(r.num_merges):
        length = length_at(r.stored, at, r.stored_bytes)
        token, split, text = -1, 0, r.stored + at + LENGTH_BYTES
        if length >= 0:
            split = _split_of(text, length)
            at += LENGTH_BYTES + length
        if 0 < split < length:
            second = text + split + 1
            slot = find_slot(r.table, text, split, second, length - split - 1)
            token = id_in(r.table, slot)
        store_i32(r.tokens + 4 * i, token)
        store_i32(r.splits + 4 * i, split)


@kernel()
def _split_of(text, length):
    """Where a merge's space is, its length if it has none.

    A space that starts the first token is part of it. One inside of a character is none.
    """
    for k in range(1, length):
        if load_u8(text + k) == _SPACE:
            return length if k + 1 < length and _continues(text + k + 1) else k
    return length


@kernel()
def merge_words(_state: Any, record: Any) -> None:
    """The tokens of every word, and where each word's begin."""
    r = _record_at(record)
    start = num_tokens = ZERO
    for w in range(r.num_words):
        store_i64(r.token_starts + 8 * w, num_tokens)
        end = load_i64(r.ends + 8 * w)
        word, num_bytes = r.words + start, end - start
        whole = find_id(r.table, word, num_bytes) if r.takes_whole_words else -1
        if whole >= 0:
            store_i32(r.tokens + 4 * num_tokens, whole)
            num_tokens += 1
        else:
            _merge(record, word, num_bytes)
            num_tokens = _write_tokens(record, word, num_bytes, num_tokens)
        start = end + 1
    store_i64(r.token_starts + 8 * r.num_words, num_tokens)


@kernel()
def _merge(record, word, num_bytes):
    """Merge the best pair of neighbours, the leftmost of equals, for as long as there is one."""
    r = _record_at(record)
    _cut_into_characters(record, word, num_bytes)
    queued = left = ZERO
    while left < num_bytes:
        queued = _offer(record, word, num_bytes, left, queued)
        left += load_i32(r.sizes + 4 * left)
    while queued:
        left, end, token = load_i64(r.heap) & _LOW, load_i64(r.heap + 8) >> 32, load_i32(r.heap + 8)
        queued = drop_least(r.heap, queued)
        size = load_i32(r.sizes + 4 * left)
        right = left + size
        # Either may have grown, or have been merged away, since this was queued.
        if not size or right >= num_bytes or right + load_i32(r.sizes + 4 * right) != end:
            continue
        store_i32(r.sizes + 4 * left, end - left)
        store_i32(r.sizes + 4 * right, 0)
        store_i32(r.merged + 4 * left, token)
        if end < num_bytes:
            store_i32(r.before + 4 * end, left)
        before = load_i32(r.before + 4 * left)
        if before >= 0:
            queued = _offer(record, word, num_bytes, before, queued)
        queued = _offer(record, word, num_bytes, left, queued)


@kernel()
def _cut_into_characters(record, word, num_bytes):
    """Let each character be a piece."""
    r = _record_at(record)
    start, before = 0, -1
    while start < num_bytes:
        end = start + 1
        while end < num_bytes and _continues(word + end):
            store_i32(r.sizes + 4 * end, 0)
            end += 1
        store_i32(r.sizes + 4 * start, end - start)
        store_i32(r.before + 4 * start, before)
        store_i32(r.merged + 4 * start, -1)
        start, before = end, start


@kernel()
def _continues(byte_at):
    """Whether a byte goes on with a character of UTF-8."""
    return load_u8(byte_at) & 0xC0 == 0x80


@kernel()
def _offer(record, word, num_bytes, left, queued):
    """Queue a piece and the next one if they can merge; returns how many are queued."""
    r = _record_at(record)
    split = load_i32(r.sizes + 4 * left)
    right = left + split
    if right >= num_bytes:
        return queued
    end = right + load_i32(r.sizes + 4 * right)
    if end - left > r.longest:
        return queued
    token = find_id(r.table, word + left, end - left)
    cost = NO_COST if token < 0 else _cost(record, token, split)
    if cost == NO_COST:
        return queued
    return push(r.heap, queued, cost << 32 | left, end << 32 | token)


@kernel()
def _cost(record, token, split):
    """Of making a token of two parts, the first of `split` bytes; NO_COST if no merge does."""
    r = _record_at(record)
    if not r.first:
        return load_i32(r.costs + 4 * token)
    for k in range(load_i32(r.first + 4 * token), load_i32(r.first + 4 * token + 4)):
        if load_i32(r.splits + 4 * k) == split:
            return load_i32(r.costs + 4 * k)
    return NO_COST


@kernel()
def _write_tokens(record, word, num_bytes, count):
    """Write the token of each piece after `count` others; returns how many there are now.

    A piece that is none becomes the tokens of its bytes, or is left out where they have none.
    """
    r = _record_at(record)
    at = 0
    while at < num_bytes:
        size, token = load_i32(r.sizes + 4 * at), load_i32(r.merged + 4 * at)
        if token < 0:
            token = find_id(r.table, word + at, size)
        if token >= 0:
            store_i32(r.tokens + 4 * count, token)
            count += 1
        elif r.byte_tokens:
            for k in range(size):
                byte = load_u8(word + at + k)
                store_i32(r.tokens + 4 * count, load_i32(r.byte_tokens + 4 * byte))
                count += 1
        at += size
    return count
