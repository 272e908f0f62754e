"""A draft ready to run: fusion, blocks, the target's embedding and head, and a KV cache."""

import time
from collections.abc import Sequence

import numpy as np

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile, Tensor
from slipstream.runtime.dovetail.draft_blocks import DraftBlocks
from slipstream.runtime.dovetail.draft_file import DraftFile
from slipstream.runtime.dovetail.gating_fusion import GatingFusion
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import ModelConfig, StepRunner, head_name
from slipstream.runtime.models.weights import Embedding, WeightLoader
from slipstream.runtime.speculation.step_costs import StepCosts
from slipstream.runtime.step_batch import StepBatch

MOST_TIMED_ROWS = 32


class Draft:
    """A draft and the one sequence of rows that it holds.

    A row is a hidden state f at a position and the token after it; what comes out is a guess at
    the hidden state there, whose logits are of the token after that.

    length : rows so far
    costs  : what feeding so many rows takes
    fed_s  : seconds that the last feeding took
    """

    def __init__(
        self,
        file: DraftFile,
        target: ModelFile,
        backend: Backend,
        *,
        threads: int,
        num_tokens: int,
    ) -> None:
        """num_tokens : rows that its cache has room for

        Raises CheckpointError when the draft's tensors are not what its config says.
        """
        config = file.config
        backend.ops.prepare({QuantType.Q8_0, QuantType.F32, _head_of(target).quant_type})
        self._backend, self._threads = backend, threads
        self._embedding = Embedding(target.tensors["token_embd.weight"], backend)
        with backend.computing(threads):
            weights = WeightLoader(file, backend)
            self._fusion = GatingFusion.load(weights, backend, config.hidden_size, config.rms_eps)
            blocks = DraftBlocks(config, weights, _packed_head(target, file, backend))
            weights.finish()
        self._head_tokens = file.head_tokens
        self._cache = _cache_for(blocks.config, num_tokens)
        self._runner = StepRunner(blocks, self._cache, backend)
        self._slot = self._cache.open()
        self.length = 0
        self.fed_s = 0.0
        self.costs = StepCosts(MOST_TIMED_ROWS)

    def truncate(self, length: int) -> None:
        """Forget the rows from `length` on."""
        if length < self.length:
            self._cache.truncate(self._slot, length)
            self.length = length

    def feed(self, hidden: np.ndarray, tokens: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Append rows; logits (1, N) and hidden state (C,) float32 after the last, both new.

        hidden : (M, C) float32; tokens : M
        """
        # Small steps want all rows, though one is used: such steps are kept and run again.
        first = 0 if len(tokens) <= MOST_TIMED_ROWS else len(tokens) - 1
        with self._backend.computing(self._threads):
            start = time.perf_counter()
            embedded = self._embedding.rows(np.asarray(tokens))
            fused = self._fusion.fuse(np.ascontiguousarray(hidden), embedded)
            batch = StepBatch.linear(
                [(self._slot, self.length, tokens)], range(first, len(tokens)), hidden=fused
            )
            logits = self._runner.logits(batch)[-1:].copy()
            guessed = self._runner.hidden()[-1]
            self.fed_s = time.perf_counter() - start
        if len(tokens) <= MOST_TIMED_ROWS:
            self.costs.observe(len(tokens), self.fed_s)
        self._cache.commit(self._slot)
        self.length += len(tokens)
        return logits, guessed

    def likeliest(self, logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and logits float32 of the `count` largest of (1, N), or of all."""
        count = min(count, logits.shape[1])
        places = np.empty((1, count), np.int32)
        values = np.empty((1, count), np.float32)
        self._backend.ops.top_k(logits, count, ids=places, out=values)
        return self._head_tokens[places[0]], values[0]


def _head_of(target: ModelFile) -> Tensor:
    return target.tensors[head_name(target.tensors)]


def _packed_head(target: ModelFile, file: DraftFile, backend: Backend) -> object:
    """The rows of the target's head that the draft scores, in the bits that the target has."""
    head = _head_of(target)
    rows = np.ascontiguousarray(head.data[file.head_tokens])
    packed: object = backend.ops.pack_weight(rows, head.quant_type, file.config.hidden_size)
    return packed


def _cache_for(config: ModelConfig, num_tokens: int) -> KVCache:
    return KVCache(
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_size=config.head_size,
        num_tokens=num_tokens,
    )
