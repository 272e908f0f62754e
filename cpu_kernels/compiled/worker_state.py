"""What the threads that share an op's work know of it.

The state is a block of int64 words that all threads know by address. The ticket has the op's
number in its high half and the items that are left in its low half, so that a worker that was put
aside can't take an item of one op for one of the next.
"""

import numpy as np

from slipstream.cpu_kernels.compiled.buffers import aligned_empty

_LINE_BYTES = 64  # each word has a cache line of its own; a scratch is an address and its bytes
# Byte offsets of the words: see above; items that are done; the op's number; what an item is called
# with; items in all; workers of a rank below the limit may help; the scratch of the op's caller.
TICKET, DONE, OP, FUNCTION, RECORD, NUM_ITEMS, LIMIT, SCRATCH = (
    _LINE_BYTES * line for line in range(8)
)
RANK, WORKER_SCRATCH = 0, 8  # byte offsets of what each worker has for itself


def new_state() -> np.ndarray:
    """A state in which nothing is to be done."""
    state = aligned_empty(SCRATCH + _LINE_BYTES).view(np.int64)
    state[:] = 0
    return state


def new_worker_state(rank: int) -> np.ndarray:
    """What a worker has for itself: its rank, and its scratch as `borrow` keeps it."""
    return np.array([rank, 0, 0], np.int64)
