"""The kernels of `text_table`: an open-addressing hash table over texts that lie in one array.

The texts may come from a hostile file: the hash starts and multiplies with numbers that nobody
knows, and no search looks at more than LONGEST_PROBE slots.
"""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.kernels.addresses import (
    ZERO,
    load_i32,
    load_i64,
    load_u8,
    record_at,
    store_i32,
    store_i64,
    store_u8,
)
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.records import BUILD_TABLE, FIND_TEXT, TEXT_TABLE
from slipstream.cpu_kernels.compiled.text_table import (
    DUPLICATE,
    LENGTH_BYTES,
    LONGEST_PROBE,
    UNPLACED,
)

_SEPARATOR = 0
_MIX = 0x2545F4914F6CDD1D
_table_at = record_at(TEXT_TABLE)
_build_at = record_at(BUILD_TABLE)
_find_at = record_at(FIND_TEXT)


@kernel()
def build_table(_state: Any, record: Any) -> None:
    """Lay the stored texts out and enter them; of equal ones the first.

    outcome : the first text that is there before, too, and the one without a place; -1 for none
    """
    r = _build_at(record)
    t = _table_at(r.table)
    store_i64(r.outcome + DUPLICATE, -1)
    at = to = ZERO
    for i in range(t.num_texts):
        length = length_at(r.stored, at, r.stored_bytes)
        slot = -1
        if length >= 0:
            _copy(t.texts + to, r.stored + at + LENGTH_BYTES, length)
            store_u8(t.texts + to + length, _SEPARATOR)
            slot = find_slot(r.table, t.texts + to, length, ZERO, ZERO)
        if slot < 0:
            store_i64(r.outcome + UNPLACED, i)
            return
        at += LENGTH_BYTES + length
        to += length + 1
        store_i32(t.starts + 4 * (i + 1), to)
        if not load_i32(t.slots + 4 * slot):
            store_i32(t.slots + 4 * slot, i + 1)
        elif load_i64(r.outcome + DUPLICATE) < 0:
            store_i64(r.outcome + DUPLICATE, i)
    store_i64(r.outcome + UNPLACED, -1)


@kernel()
def find_text(_state: Any, record: Any) -> None:
    """The id of one text."""
    r = _find_at(record)
    store_i64(r.found, find_id(r.table, r.text, r.num_bytes))


@kernel()
def find_id(table, text, num_bytes):
    """Id of the text at an address, -1 if it is not there."""
    return id_in(table, find_slot(table, text, num_bytes, text, ZERO))


@kernel()
def id_in(table, slot):
    """Id of the text in a slot that `find_slot` returned, -1 if there is none."""
    return -1 if slot < 0 else load_i32(_table_at(table).slots + 4 * slot) - 1


@kernel()
def find_slot(table, first, first_bytes, second, second_bytes):
    """The slot of the text that two parts make, or a free one for it; -1 after LONGEST_PROBE."""
    t = _table_at(table)
    hashed = _hash(_hash(t.seed, t.factor, first, first_bytes), t.factor, second, second_bytes)
    slot = _scaled(hashed, t.num_slots)
    for _ in range(LONGEST_PROBE):
        entry = load_i32(t.slots + 4 * slot)
        if not entry:
            return slot
        start = load_i32(t.starts + 4 * entry - 4)
        num_bytes = load_i32(t.starts + 4 * entry) - start - 1
        if (
            num_bytes == first_bytes + second_bytes
            and _equal(t.texts + start, first, first_bytes)
            and _equal(t.texts + start + first_bytes, second, second_bytes)
        ):
            return slot
        slot += 1
        if slot == t.num_slots:
            slot = 0
    return -1


@kernel()
def length_at(stored, at, stored_bytes):
    """Length of the stored text whose length begins at `at`; -1 where it does not fit."""
    room = stored_bytes - at - LENGTH_BYTES
    if room < 0:
        return -1
    length = load_i64(stored + at)
    return length if 0 <= length <= room else -1


@kernel()
def _hash(state, factor, text, num_bytes):
    """FNV-1a with another factor; goes on from the state after other bytes."""
    for k in range(num_bytes):
        state = (state ^ load_u8(text + k)) * factor
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
    same = ZERO
    while same < num_bytes and load_u8(one + same) == load_u8(other + same):
        same += 1
    return same == num_bytes


@kernel()
def _copy(to, source, num_bytes):
    """Copy bytes."""
    for k in range(num_bytes):
        store_u8(to + k, load_u8(source + k))
