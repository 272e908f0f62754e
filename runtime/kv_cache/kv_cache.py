"""A paged KV cache that holds several sequences and takes whole token trees."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from slipstream.cpu_kernels import KVPages
from slipstream.runtime.kv_cache.row_placement import RowPlacement
from slipstream.runtime.step_batch import StepBatch

PAGE_SIZE = 64  # tokens


def pages_for(num_tokens: int) -> int:
    """Pages that a sequence of so many tokens takes."""
    return -(-num_tokens // PAGE_SIZE)


class CacheFullError(RuntimeError):
    """There are not enough free pages; the engine must free some or wait."""


@dataclass(slots=True)
class _Stored:
    """One sequence: `length` committed tokens, then `num_new` of the step under way."""

    pages: list[int] = field(default_factory=list)
    length: int = 0
    num_new: int = 0


class KVCache:
    """Keys and values of every layer, in pages that sequences take from one pool.

    The rows of a step are placed behind their sequence's tokens, attended to, and then either
    committed along one path of the tree or dropped.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        num_kv_heads: int,
        head_size: int,
        num_tokens: int,
        dtype: str = "float16",
        page_types: Sequence[type[KVPages]] | None = None,
    ) -> None:
        """Room for `num_tokens` in all, as "float16", "int8" or "int4" (see `KVPages`).

        page_types : of each layer, those of the device that computes it; None for the host's

        Memory is touched only as pages fill.
        """
        self.num_pages = pages_for(num_tokens)
        self._layers = [
            pages_type.empty(
                num_pages=self.num_pages,
                num_heads=num_kv_heads,
                head_size=head_size,
                page_size=PAGE_SIZE,
                dtype=dtype,
            )
            for pages_type in page_types or [KVPages] * num_layers
        ]
        self._free = list(range(self.num_pages - 1, -1, -1))
        self._sequences: dict[int, _Stored] = {}
        self._next_slot = 0

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def free_tokens(self) -> int:
        """Tokens that fit in the free pages."""
        return len(self._free) * PAGE_SIZE

    def open(self) -> int:
        """Begin a sequence; returns its slot."""
        slot = self._next_slot
        self._next_slot += 1
        self._sequences[slot] = _Stored()
        return slot

    def close(self, slot: int) -> None:
        """Forget a sequence and free its pages."""
        self._free.extend(reversed(self._sequences.pop(slot).pages))

    def fork(self, slot: int, length: int) -> int:
        """A new sequence with a copy of the first `length` tokens of another; returns its slot.

        Raises CacheFullError when there are too few free pages.
        """
        source = self._sequences[slot]
        if not 0 <= length <= source.length:
            raise ValueError(f"fork: expected a length up to {source.length}, got {length}")
        num_pages = pages_for(length)
        if num_pages > len(self._free):
            raise CacheFullError(f"KV cache: {num_pages} pages needed, {len(self._free)} free")
        copy = self.open()
        pages = [self._free.pop() for _ in range(num_pages)]
        self._sequences[copy] = _Stored(pages=pages, length=length)
        for layer in self._layers:
            layer.copy_pages(source.pages[:num_pages], pages)
        return copy

    def length(self, slot: int) -> int:
        """Committed tokens of a sequence."""
        return self._sequences[slot].length

    def place(self, batch: StepBatch) -> RowPlacement:
        """Give each row of a step its place. Rows placed before and not committed are dropped.

        Raises CacheFullError, with nothing changed, when there are too few free pages.
        """
        counts = Counter(batch.slots.tolist())  # in the order in which they come
        needed = {slot: self._pages_short(slot, count) for slot, count in counts.items()}
        if sum(needed.values()) > len(self._free):
            raise CacheFullError(
                f"KV cache: {sum(needed.values())} pages needed, {len(self._free)} free"
            )
        for slot, count in counts.items():
            stored = self._sequences[slot]
            stored.pages.extend(self._free.pop() for _ in range(needed[slot]))
            stored.num_new = count
        # One width for all steps: those of one shape can then be run again.
        tables = np.zeros((len(counts), self.num_pages), np.int32)
        for row, slot in zip(tables, counts, strict=True):
            pages = self._sequences[slot].pages
            row[: len(pages)] = pages
        past = [self._sequences[slot].length for slot in counts]
        return RowPlacement.of(batch, tables, past, list(counts.values()), PAGE_SIZE)

    def layer(self, layer_id: int) -> KVPages:
        """The pages of a layer."""
        return self._layers[layer_id]

    def commit(self, slot: int, path: Sequence[int] | None = None) -> None:
        """Keep the placed rows of `path` (ascending, counted within the sequence), drop the others.

        None keeps all. Keys and values move up so that they follow the committed ones.
        """
        stored = self._sequences[slot]
        kept = range(stored.num_new)
        if path is not None and list(path) != list(kept[: len(path)]):
            if any(b <= a for a, b in pairwise([-1, *path])) or path[-1] >= stored.num_new:
                raise ValueError(
                    f"commit: {list(path)} is not an ascending path of {stored.num_new} rows"
                )
            self._move(stored, list(path))
        stored.length += stored.num_new if path is None else len(path)
        stored.num_new = 0
        self._trim(stored)

    def truncate(self, slot: int, length: int) -> None:
        """Forget the tokens of a sequence from `length` on."""
        stored = self._sequences[slot]
        if not 0 <= length <= stored.length:
            raise ValueError(f"truncate: expected a length up to {stored.length}, got {length}")
        stored.length, stored.num_new = length, 0
        self._trim(stored)

    def _pages_short(self, slot: int, num_new: int) -> int:
        stored = self._sequences[slot]
        return max(0, pages_for(stored.length + num_new) - len(stored.pages))

    def _move(self, stored: _Stored, kept: list[int]) -> None:
        pages = np.array(stored.pages)
        source = stored.length + np.array(kept)
        target = stored.length + np.arange(len(kept))
        for layer in self._layers:
            layer.move(
                (pages[source // PAGE_SIZE], source % PAGE_SIZE),
                (pages[target // PAGE_SIZE], target % PAGE_SIZE),
            )

    def _trim(self, stored: _Stored) -> None:
        needed = pages_for(stored.length)
        self._free.extend(reversed(stored.pages[needed:]))
        del stored.pages[needed:]
