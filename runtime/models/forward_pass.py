"""One step on its way through a model: the ops, with the step's places, angles and buffers."""

import math
from typing import Any

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.backends import Backend
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.weights import Embedding
from slipstream.runtime.step_batch import StepBatch

_MOST_VIEWS = 256  # steps of every size would keep one each


class Workspace:
    """Float32 buffers by name, kept between steps so that a step allocates nothing large."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}
        self._arrays: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}  # views of the buffers

    def take(self, name: str, *shape: int) -> np.ndarray:
        """An uninitialised C-contiguous array; the next `take` of the name reuses its memory."""
        array = self._arrays.get((name, shape))
        if array is None:
            size = math.prod(shape)
            held = self._buffers.get(name)
            if held is None or held.size < size:
                held = self._buffers[name] = np.empty(size, np.float32)
                self._arrays = {key: view for key, view in self._arrays.items() if key[0] != name}
            if len(self._arrays) > _MOST_VIEWS:
                self._arrays.clear()
            array = self._arrays[name, shape] = held[:size].reshape(shape)
        return array


class ForwardPass:
    """The ops of one forward over a StepBatch of M rows; ARCHITECTURE.md has the shape letters."""

    def __init__(
        self, batch: StepBatch, cache: KVCache, backend: Backend, workspace: Workspace
    ) -> None:
        """Places the batch's rows in the cache; raises CacheFullError when they do not fit."""
        self.num_rows = len(batch.tokens)
        self._batch = batch
        self._cache = cache
        self._ops = backend.ops
        self._workspace = workspace
        self._placement = cache.place(batch)
        self._angles: dict[RopeTable, tuple[np.ndarray, np.ndarray]] = {}

    def embed(self, embedding: Embedding, scale: float = 1.0) -> np.ndarray:
        """Embedding rows of the batch's tokens times `scale`, (M, C)."""
        rows = embedding.rows(self._batch.tokens)
        if scale != 1.0:
            rows *= np.float32(scale)
        return rows

    def linear(
        self,
        x: np.ndarray,
        weight: Any,
        name: str,
        *,
        norm: RmsNorm | None = None,
        activation: str | None = None,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        """h @ weight.T + bias into the buffer `name`, (M, N); h is x, normed or gated."""
        out = self._workspace.take(name, x.shape[0], weight.rows)
        self._ops.matmul(x, weight, norm=norm, activation=activation, bias=bias, out=out)
        return out

    def add_linear(
        self, to: np.ndarray, x: np.ndarray, weight: Any, *, activation: str | None = None
    ) -> None:
        """to += h @ weight.T, the residual connection; h is x, or gated by itself."""
        self._ops.matmul(x, weight, activation=activation, accumulate=True, out=to)

    def add_normed(self, to: np.ndarray, x: np.ndarray, norm: RmsNorm) -> None:
        """to += norm(x)."""
        self._ops.rms_norm(x, norm, accumulate=True, out=to)

    def rotate_and_store(
        self,
        layer_id: int,
        qkv: np.ndarray,
        table: RopeTable,
        *,
        query_norm: RmsNorm | None,
        key_norm: RmsNorm | None,
    ) -> np.ndarray:
        """Norm and rotate the heads of qkv, store keys and values; returns queries (M, H, D)."""
        if table not in self._angles:
            self._angles[table] = table.angles(self._batch.positions)
        cos, sin = self._angles[table]
        pages = self._cache.layer(layer_id)
        num_heads = qkv.shape[1] // pages.head_size - 2 * pages.num_heads
        out = self._workspace.take("queries", self.num_rows, num_heads, pages.head_size)
        self._ops.rotate_and_store(
            qkv,
            cos,
            sin,
            self._placement.pages,
            self._placement.offsets,
            interleaved=table.interleaved,
            query_norm=query_norm,
            key_norm=key_norm,
            pages=pages,
            out=out,
        )
        return out

    def attend(
        self, layer_id: int, q: np.ndarray, *, scale: float, window: int | None = None
    ) -> np.ndarray:
        """What each row of q (M, H, D) gathers from the keys it sees, (M, H * D)."""
        out = self._workspace.take("attention", *q.shape)
        visibility = self._placement.visibility(window)
        self._ops.attention(q, self._cache.layer(layer_id), visibility, scale=scale, out=out)
        return out.reshape(self.num_rows, -1)

    def wanted(self, x: np.ndarray) -> np.ndarray:
        """The rows of x whose logits are asked for, (W, C)."""
        if len(self._batch.wanted) == self.num_rows:
            return x
        rows: np.ndarray = x[self._batch.wanted]
        return rows
