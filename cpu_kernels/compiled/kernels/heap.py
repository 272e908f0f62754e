"""A binary heap of (key, value) rows, the least key first."""

from slipstream.cpu_kernels.compiled.kernels.compiler import kernel


@kernel()
def push(heap, count, key, value):
    """Add a row to `count` others; returns how many there are now."""
    at = count
    while at:
        parent = (at - 1) >> 1
        if heap[parent, 0] <= key:
            break
        heap[at, 0], heap[at, 1] = heap[parent, 0], heap[parent, 1]
        at = parent
    heap[at, 0], heap[at, 1] = key, value
    return count + 1


@kernel()
def pop_least(heap, count):
    """Take the first row of `count` away; returns how many are left."""
    count -= 1
    key, value = heap[count, 0], heap[count, 1]
    at = 0
    child = 1
    while child < count:
        if child + 1 < count and heap[child + 1, 0] < heap[child, 0]:
            child += 1
        if heap[child, 0] >= key:
            break
        heap[at, 0], heap[at, 1] = heap[child, 0], heap[child, 1]
        at, child = child, 2 * child + 1
    heap[at, 0], heap[at, 1] = key, value
    return count
