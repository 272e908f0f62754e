"""The definition of `merge_words`: the best pair of neighbours first, while there is one."""

import itertools
from collections.abc import Callable


def merge_neighbours(pieces: list[str], cost_of: Callable[[str, str], float | None]) -> list[str]:
    """The pieces that are left, in their order.

    cost_of : of making one piece of two neighbours, None where they can't be; of equal costs the
              leftmost comes first
    """
    while True:
        costs = [cost_of(*pair) for pair in itertools.pairwise(pieces)]
        known = [(cost, at) for at, cost in enumerate(costs) if cost is not None]
        if not known:
            return pieces
        _, at = min(known)
        pieces = [*pieces[:at], pieces[at] + pieces[at + 1], *pieces[at + 2 :]]
