"""The one sequence that a draft holds; what feeding it takes is measured."""

import time
from collections.abc import Sequence

import numpy as np

from slipstream.runtime.backends import Backend
from slipstream.runtime.models import Array, Model, StepRunner, empty_cache
from slipstream.runtime.speculation.step_costs import StepCosts
from slipstream.runtime.step_batch import StepBatch
from slipstream.runtime.warm_up_rows import WARM_UP_ROWS

DRAFT_KV = "float16"  # how keys and values are stored
MOST_TIMED_ROWS = 32  # of a feeding whose time is kept; more are a prompt's


class TimedSequence:
    """Rows that a draft was fed, and the keys and values that it has of them.

    length : rows so far
    costs  : what feeding up to MOST_TIMED_ROWS takes
    fed_s  : seconds that the last feeding took
    """

    def __init__(self, model: Model, backend: Backend, *, threads: int, num_tokens: int) -> None:
        """num_tokens : rows that its cache has room for"""
        cache = empty_cache(model.config, backend, num_tokens, DRAFT_KV)
        self._runner = StepRunner(model, cache, backend)
        self._cache = cache
        self._backend = backend
        self._threads = threads
        self._slot = cache.open()
        self.length = 0
        self.fed_s = 0.0
        self._candidates: dict[int, tuple[Array, ...]] = {}  # by their number, where the draft is
        self._likeliest_bytes = 0
        self.costs = StepCosts(MOST_TIMED_ROWS)

    def truncate(self, length: int) -> None:
        """Forget the rows from `length` on."""
        if length < self.length:
            self._cache.truncate(self._slot, length)
            self.length = length

    def feed(self, tokens: Sequence[int], hidden: np.ndarray | None = None) -> Array:
        """Append rows; logits (1, N) after the last, on the draft's device, until the next call.

        tokens : M ids
        hidden : (M, C) float32, hidden states that go in beside the tokens
        """
        # Small steps want all rows, though one is used: such steps are kept and run again.
        first = 0 if len(tokens) <= MOST_TIMED_ROWS else len(tokens) - 1
        with self._backend.computing(self._threads):
            start = time.perf_counter()
            run = (self._slot, self.length, tokens)
            batch = StepBatch.linear([run], range(first, len(tokens)), hidden=hidden)
            logits = self._runner.run(batch)
            self._backend.ops.synchronize()
            self.fed_s = time.perf_counter() - start
        if len(tokens) <= MOST_TIMED_ROWS:
            self.costs.observe(len(tokens), self.fed_s)
        self._cache.commit(self._slot)
        self.length += len(tokens)
        return logits[-1:]

    def warm_up(self, hidden_size: int | None = None) -> None:
        """Have the draft's device compile the kernels of its steps.

        hidden_size : C, where hidden states go in beside the tokens
        """
        for count in (min(rows, self._cache.free_tokens) for rows in WARM_UP_ROWS):
            hidden = None if hidden_size is None else np.zeros((count, hidden_size), np.float32)
            self.likeliest(self.feed([0] * count, hidden), 1)
            self.truncate(0)
        self.costs = StepCosts(MOST_TIMED_ROWS)  # compiling says nothing of them

    def hidden(self) -> np.ndarray:
        """Hidden state (C,) float32 after the last row, a new array."""
        after: np.ndarray = self._runner.hidden(slice(-1, None))[0]
        return after

    def to_host(self, logits: Array) -> np.ndarray:
        """Logits that `feed` returned, in host memory."""
        return self._runner.to_host(logits)

    def likeliest(self, logits: Array, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Places int32 and values float32 of the `count` largest logits of (1, N), or of all."""
        ops, count = self._backend.ops, min(count, logits.shape[1])
        with self._backend.computing(self._threads):
            if count not in self._candidates:
                self._candidates[count] = tuple(
                    ops.from_host(np.empty((1, count), dtype)) for dtype in (np.int32, np.float32)
                )
            places, values = self._candidates[count]
            ops.top_k(logits, count, ids=places, out=values)
            if not ops.IN_HOST_MEMORY:
                self._likeliest_bytes += places.nbytes + values.nbytes
            return np.array(ops.to_host(places)[0]), np.array(ops.to_host(values)[0])

    @property
    def link_bytes(self) -> int:
        """Copied so far between the host and the draft's device."""
        return self._runner.link_bytes + self._likeliest_bytes
