"""A second, smaller model that runs ahead of the target, with a KV cache of its own."""

import time
from collections.abc import Sequence

import numpy as np

from slipstream.runtime.backends import Backend
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import Model, StepRunner
from slipstream.runtime.speculation.step_costs import StepCosts
from slipstream.runtime.step_batch import StepBatch

MOST_TIMED_ROWS = 32


class DraftModel:
    """A model on any backend, and the one sequence that it holds.

    tokens : of that sequence so far
    costs  : what feeding so many tokens takes
    fed_s  : seconds that the last feeding took
    """

    def __init__(
        self, model: Model, cache: KVCache, backend: Backend, *, threads: int, vocab_size: int
    ) -> None:
        """`cache` is this model's alone."""
        self._runner = StepRunner(model, cache, backend)
        self._cache = cache
        self._backend = backend
        self._threads = threads
        self._vocab_size = vocab_size
        self._slot = cache.open()
        self.tokens: list[int] = []
        self.fed_s = 0.0
        self.costs = StepCosts(MOST_TIMED_ROWS)

    def truncate(self, length: int) -> None:
        """Forget the tokens from `length` on."""
        if length < len(self.tokens):
            del self.tokens[length:]
            self._cache.truncate(self._slot, length)

    def feed(self, tokens: Sequence[int]) -> np.ndarray:
        """Append tokens; logits of the last, (1, tokens that the head is for), until the next call.

        One that the draft does not know is fed as token 0: what follows it is a worse guess, no
        more, since the target verifies all.
        """
        known = [token if token < self._vocab_size else 0 for token in tokens]
        # Small steps want all rows, though one is used: such steps are kept and run again.
        first = 0 if len(known) <= MOST_TIMED_ROWS else len(known) - 1
        wanted = range(first, len(known))
        batch = StepBatch.linear([(self._slot, len(self.tokens), known)], wanted)
        with self._backend.computing(self._threads):
            start = time.perf_counter()
            logits = self._runner.logits(batch)
            self.fed_s = time.perf_counter() - start
        if len(known) <= MOST_TIMED_ROWS:
            self.costs.observe(len(known), self.fed_s)
        self._cache.commit(self._slot)
        self.tokens += tokens
        return logits[-1:]

    def likeliest(self, logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids int32 and values float32 of the `count` largest logits (1, N), or of all."""
        count = min(count, logits.shape[1])
        ids = np.empty((1, count), np.int32)
        values = np.empty((1, count), np.float32)
        self._backend.ops.top_k(logits, count, ids=ids, out=values)
        return ids[0], values[0]
