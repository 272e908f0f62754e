"""Merging the pieces of a word: the best pair of neighbours first, for as long as there is one."""

import functools
import heapq
from collections.abc import Callable

_CACHED_WORDS = 1 << 16
_CACHED_WORD_LENGTH = 64


def remembered(merge: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    """`merge`, with the results of words of up to 64 characters kept."""
    cached = functools.lru_cache(_CACHED_WORDS)(merge)
    return lambda word: (merge if len(word) > _CACHED_WORD_LENGTH else cached)(word)


def merge_neighbours(pieces: list[str], cost_of: Callable[[str, str], float | None]) -> list[str]:
    """The pieces that are left, in their order.

    cost_of : of making one piece of two neighbours, None where they can't be; of equal costs the
              leftmost comes first
    """
    following = [*range(1, len(pieces)), -1]
    previous = list(range(-1, len(pieces) - 1))
    # Candidates by cost, then position: (cost, left piece, right piece, length of both).
    queue = [
        (cost, left, left + 1, len(pieces[left]) + len(pieces[left + 1]))
        for left in range(len(pieces) - 1)
        if (cost := cost_of(pieces[left], pieces[left + 1])) is not None
    ]
    heapq.heapify(queue)
    while queue:
        _, left, right, length = heapq.heappop(queue)
        before, after = pieces[left], pieces[right]
        # Either may have grown, or have been merged away and be empty, since this was queued.
        if not before or not after or len(before) + len(after) != length:
            continue
        pieces[left], pieces[right] = before + after, ""
        beyond = following[left] = following[right]
        if beyond >= 0:
            previous[beyond] = left
        for first, second in ((previous[left], left), (left, beyond)):
            if first >= 0 and second >= 0:
                cost = cost_of(pieces[first], pieces[second])
                if cost is not None:
                    both = len(pieces[first]) + len(pieces[second])
                    heapq.heappush(queue, (cost, first, second, both))
    return [piece for piece in pieces if piece]
