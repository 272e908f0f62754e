"""The kernels of `text_table`: an open-addressing hash table over texts that lie in one array.

Its texts may come from a hostile file: the hash is seeded at random, and no search looks at more
than LONGEST_PROBE slots.
"""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    bytes_at,
    counts_at,
    record_at,
    words_at,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.records import BUILD_TABLE, FIND_TEXT, TEXT_TABLE
from slipstream.cpu_kernels.compiled.text_table import DUPLICATE, LONGEST_PROBE, UNPLACED

LENGTH_BYTES = 8
_SEPARATOR = 0
_MIX = 0x2545F4914F6CDD1D
_table_at = record_at(TEXT_TABLE)
_build_at = record_at(BUILD_TABLE)
_find_at = record_at(FIND_TEXT)


@kernel()
def build_table(_state: Any, record: Any) -> None:
    """Lay the stored texts out and enter them; of equal ones the first.

    outcome : the first text that was there before, and the first that found no place; -1 for none
    """
    r = _build_at(record)
    t = _table_at(r.table)
    outcome = words_at(r.outcome, (2,))
    outcome[DUPLICATE] = outcome[UNPLACED] = -1
    starts, slots = counts_at(t.starts, (t.num_texts + 1,)), counts_at(t.slots, (t.num_slots,))
    at = to = 0
    for i in range(t.num_texts):
        length = length_at(r.stored, at, r.stored_bytes)
        slot = -1
        if length >= 0:
            starts[i] = to
            _copy(t.texts + to, r.stored + at + LENGTH_BYTES, length)
            slot = find_slot(r.table, t.texts + to, length, 0, 0)
        if slot < 0:
            outcome[UNPLACED] = i
            return
        at += LENGTH_BYTES + length
        to += length + 1
        starts[i + 1] = to
        if not slots[slot]:
            slots[slot] = i + 1
        elif outcome[DUPLICATE] < 0:
            outcome[DUPLICATE] = i


@kernel()
def find_text(_state: Any, record: Any) -> None:
    """The id of one text."""
    r = _find_at(record)
    words_at(r.found, (1,))[0] = find_id(r.table, r.text, r.num_bytes)


@kernel()
def find_id(table, text, num_bytes):
    """Id of the text at an address, -1 if it is not there."""
    return entry_at(table, find_slot(table, text, num_bytes, 0, 0))


@kernel()
def entry_at(table, slot):
    """Id of the text in a slot that `find_slot` returned, -1 if there is none."""
    r = _table_at(table)
    return -1 if slot < 0 else np.int64(counts_at(r.slots, (r.num_slots,))[slot]) - 1


@kernel()
def find_slot(table, first, first_bytes, second, second_bytes):
    """The slot of the text that two parts make, or a free one for it; -1 after LONGEST_PROBE."""
    r = _table_at(table)
    hashed = _hash(_hash(r.seed, r.factor, first, first_bytes), r.factor, second, second_bytes)
    slots, starts = counts_at(r.slots, (r.num_slots,)), counts_at(r.starts, (r.num_texts + 1,))
    slot = _scaled(hashed, r.num_slots)
    for _ in range(LONGEST_PROBE):
        entry = slots[slot]
        if not entry:
            return slot
        start = np.int64(starts[entry - 1])
        if (
            np.int64(starts[entry]) - start - 1 == first_bytes + second_bytes
            and _equal(r.texts + start, first, first_bytes)
            and _equal(r.texts + start + first_bytes, second, second_bytes)
        ):
            return slot
        slot += 1
        if slot == r.num_slots:
            slot = 0
    return -1


@kernel()
def length_at(stored, at, stored_bytes):
    """Length of the stored text whose length begins at `at`; -1 where it does not fit."""
    if stored_bytes - at < LENGTH_BYTES:
        return -1
    prefix = bytes_at(stored + at, (LENGTH_BYTES,))
    length = 0
    for k in range(LENGTH_BYTES):
        length |= np.int64(prefix[k]) << (8 * k)
    return length if 0 <= length <= stored_bytes - at - LENGTH_BYTES else -1


@kernel()
def _hash(state, factor, text, num_bytes):
    """FNV-1a with a factor that nobody knows; goes on from the state after other bytes."""
    data = bytes_at(text, (num_bytes,))
    for k in range(num_bytes):
        state = (state ^ np.int64(data[k])) * factor
    return state


@kernel()
def _scaled(hashed, num_slots):
    """A hash's state mixed, then scaled to 0 .. num_slots - 1."""
    mixed = np.uint64(hashed)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(_MIX)
    mixed = (mixed ^ (mixed >> np.uint64(29))) >> np.uint64(32)
    return np.int64((mixed * np.uint64(num_slots)) >> np.uint64(32))


@kernel()
def _equal(one, other, num_bytes):
    a, b = bytes_at(one, (num_bytes,)), bytes_at(other, (num_bytes,))
    for k in range(num_bytes):
        if a[k] != b[k]:
            return False
    return True


@kernel()
def _copy(to, source, num_bytes):
    """Copy a text and end it with a separator."""
    a, b = bytes_at(to, (num_bytes + 1,)), bytes_at(source, (num_bytes,))
    for k in range(num_bytes):
        a[k] = b[k]
    a[num_bytes] = _SEPARATOR
