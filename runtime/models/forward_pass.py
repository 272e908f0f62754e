"""One step on its way through a model: the ops, with the step's places, angles and buffers."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.backends import Backend
from slipstream.runtime.models.layer_stream import LayerStream
from slipstream.runtime.models.layers_in_place import LayersInPlace
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.step_program import StepRecorder
from slipstream.runtime.models.step_side import StepSide, StepSides
from slipstream.runtime.models.weights import Embedding

Array = Any  # of the device whose layer is under way


class ForwardPass:
    """The ops of one forward over M rows; ARCHITECTURE.md has the shape letters.

    A model computes with these methods alone, so that they can be collected before they run, and
    run again for a later step of the same shape (see `StepRunner`). Arrays are those of the device
    whose layer is under way; in the host's memory before the first.
    """

    def __init__(
        self, sides: StepSides, layers: LayersInPlace | LayerStream, recorder: StepRecorder
    ) -> None:
        self._inputs = sides.inputs
        self.num_rows = self._inputs.num_rows
        self._sides = sides
        self._layers = layers
        self._recorder = recorder
        self._side: StepSide | None = None  # of the layer under way
        self.last: tuple[Array, RmsNorm | None] | None = None  # what the head was given

    def at_layer(self, layer_id: int, x: Array) -> Array:
        """Go on at this layer's device; x (M, C) there."""
        x = self._at(self._layers.devices.of_layer(layer_id), x)
        self._layers.at_layer(layer_id)
        return x

    def begin_at_layer(self, layer_id: int, *inputs: np.ndarray) -> list[Array]:
        """Begin at this layer's device, with several of the step's inputs, which are only read.

        inputs : from `given` and `embed`; they come in one copy with places and angles
        """
        self._side = self._sides.of(self._layers.devices.of_layer(layer_id))
        brought = [self._side.bring(array) for array in inputs]
        self._recorder.begin_leg(self._side.ops)
        self._layers.at_layer(layer_id)
        return brought

    def _at(self, backend: Backend, x: Array) -> Array:
        before, self._side = self._side, self._sides.of(backend)
        if self._side is before:
            return x
        if before is not None and not before.ops.IN_HOST_MEMORY:
            x = self._to_host(before, x)
        if not self._side.ops.IN_HOST_MEMORY:
            x = self._from_host(self._side, x)
        self._recorder.begin_leg(self._side.ops)
        return x

    def _to_host(self, side: StepSide, x: Array) -> np.ndarray:
        out: np.ndarray = self._sides.workspaces.copied_from(side.backend).take("x", *x.shape)
        self._recorder.copy(lambda: side.ops.to_host(x, out=out), out.nbytes)
        return out

    def _from_host(self, side: StepSide, x: np.ndarray) -> Array:
        out = side.take("x", *x.shape)
        self._recorder.copy(lambda: side.ops.from_host(x, out=out), x.nbytes)
        return out

    @property
    def _here(self) -> StepSide:
        assert self._side is not None, "a model calls at_layer before its first layer"
        return self._side

    def given(self) -> np.ndarray:
        """The hidden states that the step's batch brings, (M, C)."""
        return self._inputs.array("hidden", lambda batch, _: np.array(batch.hidden, np.float32))

    def embed(self, embedding: Embedding, scale: float = 1.0) -> np.ndarray:
        """Embedding rows of the step's tokens times `scale`, (M, C)."""
        return self._inputs.array(
            embedding, lambda batch, _: embedding.rows(batch.tokens) * np.float32(scale)
        )

    def linear(
        self,
        x: Array,
        weight: Any,
        name: str,
        *,
        norm: RmsNorm | None = None,
        activation: str | None = None,
        bias: Array = None,
    ) -> Array:
        """h @ weight.T + bias into the buffer `name`, (rows of x, N); h is x, normed or gated."""
        out = self._here.take(name, x.shape[0], weight.rows)
        self._here.ops.matmul(
            x,
            self._layers.weight(weight),
            norm=self._layers.vector(norm),
            activation=activation,
            bias=self._layers.vector(bias),
            out=out,
        )
        return out

    def add_linear(
        self, to: Array, x: Array, weight: Any, *, activation: str | None = None
    ) -> None:
        """to += h @ weight.T, as the residual connection does; h is x, or gated by itself."""
        weight = self._layers.weight(weight)
        self._here.ops.matmul(x, weight, activation=activation, accumulate=True, out=to)

    def add_normed(self, to: Array, x: Array, norm: RmsNorm) -> None:
        """to += norm(x)."""
        self._here.ops.rms_norm(x, self._layers.vector(norm), accumulate=True, out=to)

    def blend_gated(self, gate: Array, a: Array, b: Array | None, name: str) -> Array:
        """z * a + (1 - z) * b into the buffer `name`, (M, C); z = 1 / (1 + exp(-gate)).

        Without b it is z * a.
        """
        out = self._here.take(name, *gate.shape)
        self._here.ops.blend_gated(gate, a, b, out=out)
        return out

    def rotate_and_store(
        self,
        layer_id: int,
        qkv: Array,
        table: RopeTable,
        *,
        query_norm: RmsNorm | None,
        key_norm: RmsNorm | None,
    ) -> Array:
        """Norm and rotate the heads of qkv, store keys and values; returns queries (M, H, D)."""
        cos, sin = self._here.angles(table)
        pages = self._layers.pages(layer_id)
        num_heads = qkv.shape[1] // pages.head_size - 2 * pages.num_heads
        out = self._here.take("queries", self.num_rows, num_heads, pages.head_size)
        self._here.ops.rotate_and_store(
            qkv,
            cos,
            sin,
            self._here.pages,
            self._here.offsets,
            interleaved=table.interleaved,
            query_norm=self._layers.vector(query_norm),
            key_norm=self._layers.vector(key_norm),
            pages=pages,
            out=out,
        )
        return out

    def attend(self, layer_id: int, q: Array, *, scale: float, window: int | None = None) -> Array:
        """What each row of q (M, H, D) gathers from the keys it sees, (M, H * D)."""
        out = self._here.take("attention", *q.shape)
        pages, seen = self._layers.pages(layer_id), self._here.visibility(window)
        self._here.ops.attention(q, pages, seen, scale=scale, out=out)
        return out.reshape(self.num_rows, -1)

    def wanted(self, x: Array) -> Array:
        """The rows of x (M, C) that the last layer goes on with: (W, C), or all that are kept."""
        return x if self._inputs.keeps_all else self._wanted(x)

    def logits(self, x: Array, head: Any, norm: RmsNorm | None) -> Array:
        """norm(x) @ head.T of the rows whose logits are asked for, (W, V); x is from `wanted`."""
        self._layers.at_layer(None)
        x = self._at(self._layers.devices.of_head, x)
        self.last = x, norm
        rows = self._wanted(x) if self._inputs.keeps_all else x
        return self.linear(rows, head, "logits", norm=norm)

    def _wanted(self, x: Array) -> Array:
        span = self._inputs.wanted_span
        if span is not None:
            return x[span]
        self._recorder.end_leg()  # such rows are copied, so they must have their values
        rows = x[self._inputs.wanted.tolist()]
        if self._side is not None:
            self._recorder.begin_leg(self._side.ops)
        return rows
