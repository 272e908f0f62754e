"""What the threads that share an op's work know of it.

The state is a block of int64 words that all threads know by address. The ticket has the op's
number in its high half and the items that are left in its low half, so that a worker that was put
aside can't take an item of one op for one of the next.
"""

import numpy as np

from slipstream.cpu_kernels.compiled.buffers import aligned_empty

_LINE_BYTES = 64  # each word has a cache line of its own
# Byte offsets of the words: see above; items that are done; the op's number; what an item is called
# with; items in all; workers of a rank below the limit may help.
TICKET, DONE, OP, FUNCTION, RECORD, NUM_ITEMS, LIMIT = (_LINE_BYTES * line for line in range(7))


def new_state() -> np.ndarray:
    """A state in which nothing is to be done."""
    state = aligned_empty(LIMIT + _LINE_BYTES).view(np.int64)
    state[:] = 0
    return state
