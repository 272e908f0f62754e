"""A binary heap of (key, value) rows, two int64 each, the least key first."""

from slipstream.cpu_kernels.compiled.kernels.addresses import ZERO, load_i64, store_i64
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel

ROW_BYTES = 16


@kernel()
def push(heap, count, key, value):
    """Add a row to `count` others; returns how many there are now."""
    at = count
    while at:
        parent = (at - 1) >> 1
        if load_i64(heap + ROW_BYTES * parent) <= key:
            break
        _move(heap, at, parent)
        at = parent
    _put(heap, at, key, value)
    return count + 1


@kernel()
def drop_least(heap, count):
    """Take the first row of `count` away; returns how many are left."""
    count -= 1
    key = load_i64(heap + ROW_BYTES * count)
    at, child = ZERO, 1
    while child < count:
        here = heap + ROW_BYTES * child
        if child + 1 < count and load_i64(here + ROW_BYTES) < load_i64(here):
            child += 1
        if load_i64(heap + ROW_BYTES * child) >= key:
            break
        _move(heap, at, child)
        at, child = child, 2 * child + 1
    _move(heap, at, count)
    return count


@kernel()
def _move(heap, to, source):
    row = heap + ROW_BYTES * source
    _put(heap, to, load_i64(row), load_i64(row + 8))


@kernel()
def _put(heap, at, key, value):
    store_i64(heap + ROW_BYTES * at, key)
    store_i64(heap + ROW_BYTES * at + 8, value)
