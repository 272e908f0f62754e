"""One step on its way through a model: the ops, with the step's places, angles and buffers."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels import RmsNorm, Visibility
from slipstream.runtime.backends import Backend
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.step_inputs import StepInputs
from slipstream.runtime.models.weights import Embedding
from slipstream.runtime.models.workspace import Workspace


class ForwardPass:
    """The ops of one forward over M rows; ARCHITECTURE.md has the shape letters.

    A model computes with these methods alone, so that they can be collected before they run, and
    run again for a later step of the same shape (see `StepRunner`).
    """

    def __init__(
        self, inputs: StepInputs, cache: KVCache, backend: Backend, workspace: Workspace
    ) -> None:
        self.num_rows = inputs.num_rows
        self._inputs = inputs
        self._cache = cache
        self._ops = backend.ops
        self._workspace = workspace
        self._angles: dict[RopeTable, np.ndarray] = {}
        self._visibility: dict[int | None, Visibility] = {}
        self.last: tuple[np.ndarray, RmsNorm | None] | None = None  # what the head was given

    def given(self) -> np.ndarray:
        """The hidden states that the step's batch brings, (M, C)."""
        return self._inputs.array(lambda batch, _: np.array(batch.hidden, np.float32))

    def embed(self, embedding: Embedding, scale: float = 1.0) -> np.ndarray:
        """Embedding rows of the step's tokens times `scale`, (M, C)."""
        return self._inputs.array(lambda batch, _: embedding.rows(batch.tokens) * np.float32(scale))

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
        """h @ weight.T + bias into the buffer `name`, (rows of x, N); h is x, normed or gated."""
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
            self._angles[table] = self._inputs.array(lambda batch, _: table.angles(batch.positions))
        cos, sin = self._angles[table]
        pages = self._cache.layer(layer_id)
        num_heads = qkv.shape[1] // pages.head_size - 2 * pages.num_heads
        out = self._workspace.take("queries", self.num_rows, num_heads, pages.head_size)
        self._ops.rotate_and_store(
            qkv,
            cos,
            sin,
            self._inputs.pages,
            self._inputs.offsets,
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
        if window not in self._visibility:
            self._visibility[window] = self._inputs.visibility(window)
        self._ops.attention(
            q, self._cache.layer(layer_id), self._visibility[window], scale=scale, out=out
        )
        return out.reshape(self.num_rows, -1)

    def wanted(self, x: np.ndarray) -> np.ndarray:
        """The rows of x (M, C) that the last layer goes on with: (W, C), or all that are kept."""
        return x if self._inputs.keeps_all else self._wanted(x)

    def logits(self, x: np.ndarray, head: Any, norm: RmsNorm | None) -> np.ndarray:
        """norm(x) @ head.T of the rows whose logits are asked for, (W, V); x is from `wanted`."""
        self.last = x, norm
        rows = self._wanted(x) if self._inputs.keeps_all else x
        return self.linear(rows, head, "logits", norm=norm)

    def _wanted(self, x: np.ndarray) -> np.ndarray:
        span = self._inputs.wanted_span
        rows: np.ndarray = x[self._inputs.wanted if span is None else span]
        return rows
