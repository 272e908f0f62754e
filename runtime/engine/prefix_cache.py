"""Ended sequences whose keys and values may serve a prompt with the same beginning."""

from collections import OrderedDict
from collections.abc import Sequence

from slipstream.runtime.kv_cache import KVCache


class PrefixCache:
    """Ended sequences in the KV cache, least recently used first."""

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._idle: OrderedDict[int, list[int]] = OrderedDict()

    def keep(self, slot: int, tokens: Sequence[int]) -> None:
        """Hand over a slot that holds exactly `tokens`."""
        if tokens:
            self._idle[slot] = list(tokens)
        else:
            self._cache.close(slot)

    def take(self, tokens: Sequence[int]) -> tuple[int, int]:
        """A slot that holds the longest known prefix of `tokens`, and the prefix's length.

        At least one token is left to compute: its logits are what the caller wants. A sequence that
        shares more than half of itself is continued; else the shared part is copied, so that the
        other conversation loses nothing.
        """
        best, shared = -1, 0
        for slot, held in self._idle.items():
            common = min(_common_length(held, tokens), len(tokens) - 1)
            if common > shared:
                best, shared = slot, common
        if shared == 0:
            return self._cache.open(), 0
        if 2 * shared > len(self._idle[best]):
            del self._idle[best]
            self._cache.truncate(best, shared)
            return best, shared
        self._idle.move_to_end(best)
        return self._copy(best, shared)

    def evict_one(self) -> bool:
        """Forget the sequence that was used longest ago; False when there is none."""
        if not self._idle:
            return False
        slot, _ = self._idle.popitem(last=False)
        self._cache.close(slot)
        return True

    def _copy(self, slot: int, length: int) -> tuple[int, int]:
        while self._cache.free_tokens < length:
            if next(iter(self._idle)) == slot:  # nothing else is left to evict
                return self._cache.open(), 0
            self.evict_one()
        return self._cache.fork(slot, length), length


def _common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences share from their beginning."""
    for index, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return index
    return min(len(a), len(b))
