"""One step on its way through a model: the ops, with the step's places, angles and buffers."""

import math
from typing import Any

import numpy as np

from slipstream.runtime.backends import Backend
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.weights import Embedding
from slipstream.runtime.step_batch import StepBatch

__all__ = ["ForwardPass", "Workspace"]


class Workspace:
    """Float32 buffers by name, kept between steps so that a step allocates nothing large."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def take(self, name: str, *shape: int) -> np.ndarray:
        """An uninitialised C-contiguous array; the next `take` of the name reuses its memory."""
        size = math.prod(shape)
        held = self._buffers.get(name)
        if held is None or held.size < size:
            held = self._buffers[name] = np.empty(size, np.float32)
        return held[:size].reshape(shape)


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

    def norm(self, x: np.ndarray, weight: np.ndarray, eps: float, name: str = "norm") -> np.ndarray:
        """RMS norm of x (M, C) into the buffer `name`."""
        out = self._workspace.take(name, *x.shape)
        self._ops.rms_norm(x, weight, eps, out=out)
        return out

    def norm_heads(self, x: np.ndarray, weight: np.ndarray, eps: float) -> None:
        """RMS norm of each head of x (M, H, D), in place."""
        flat = x.reshape(-1, x.shape[-1])
        self._ops.rms_norm(flat, weight, eps, out=flat)

    def linear(
        self, x: np.ndarray, weight: Any, name: str, bias: np.ndarray | None = None
    ) -> np.ndarray:
        """x @ weight.T + bias into the buffer `name`, (M, N)."""
        out = self._workspace.take(name, x.shape[0], weight.rows)
        self._ops.matmul(x, weight, bias=bias, out=out)
        return out

    def add_linear(
        self, to: np.ndarray, x: np.ndarray, weight: Any, bias: np.ndarray | None = None
    ) -> None:
        """to += x @ weight.T + bias: the residual connection."""
        self._ops.matmul(x, weight, bias=bias, accumulate=True, out=to)

    def heads(self, x: np.ndarray, head_size: int) -> np.ndarray:
        """(M, H * D) as (M, H, D)."""
        return x.reshape(x.shape[0], -1, head_size)

    def rotate(self, x: np.ndarray, table: RopeTable) -> None:
        """Rotary embedding of x (M, H, D) at the rows' positions, in place."""
        if table not in self._angles:
            self._angles[table] = table.angles(self._batch.positions)
        cos, sin = self._angles[table]
        self._ops.rope(x, cos, sin, interleaved=table.interleaved)

    def attend(
        self,
        layer_id: int,
        q: np.ndarray,
        k: np.ndarray,
        v: np.ndarray,
        *,
        scale: float,
        window: int | None = None,
    ) -> np.ndarray:
        """Store k, v (M, K, D) and attend with q (M, H, D); returns (M, H * D)."""
        key_pages, value_pages = self._cache.layer(layer_id)
        self._ops.store_kv(
            k,
            v,
            self._placement.pages,
            self._placement.offsets,
            key_pages=key_pages,
            value_pages=value_pages,
        )
        out = self._workspace.take("attention", *q.shape)
        visibility = self._placement.visibility(window)
        self._ops.attention(q, key_pages, value_pages, visibility, scale=scale, out=out)
        return out.reshape(self.num_rows, -1)

    def gated(self, gate: np.ndarray, up: np.ndarray, activation: str) -> np.ndarray:
        """activation(gate) * up, in the memory of `gate`."""
        self._ops.gated_activation(gate, up, activation, out=gate)
        return gate

    def wanted(self, x: np.ndarray) -> np.ndarray:
        """The rows of x whose logits are asked for, (W, C)."""
        if len(self._batch.wanted) == self.num_rows:
            return x
        rows: np.ndarray = x[self._batch.wanted]
        return rows
