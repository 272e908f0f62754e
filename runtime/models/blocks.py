"""The two blocks of a transformer layer, as all architectures here build them."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.models.config import ModelConfig
from slipstream.runtime.models.forward_pass import Array, ForwardPass
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.weights import WeightLoader


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Rotary attention with grouped heads; biases and head norms where the file has them."""

    layer_id: int
    qkv: Any  # ((H + 2 K) * D, C): the rows of queries, keys and values
    bias: np.ndarray | None  # ((H + 2 K) * D,)
    query_norm: RmsNorm | None  # (D,)
    key_norm: RmsNorm | None  # (D,)
    output: Any  # (C, H * D)

    @classmethod
    def load(cls, weights: WeightLoader, config: ModelConfig, layer_id: int) -> Self:
        c, name = config, f"blk.{layer_id}.attn_"
        q_size, kv_size = c.num_heads * c.head_size, c.num_kv_heads * c.head_size
        parts = [(name + "q", q_size), (name + "k", kv_size), (name + "v", kv_size)]
        return cls(
            layer_id=layer_id,
            qkv=weights.stacked([(part + ".weight", rows) for part, rows in parts], c.hidden_size),
            bias=weights.optional_stacked_vector([(part + ".bias", rows) for part, rows in parts]),
            query_norm=weights.optional_norm(name + "q_norm.weight", c.head_size, c.rms_eps),
            key_norm=weights.optional_norm(name + "k_norm.weight", c.head_size, c.rms_eps),
            output=weights.matrix(name + "output.weight", c.hidden_size, q_size),
        )

    def attend(
        self,
        step: ForwardPass,
        x: Array,
        norm: RmsNorm | None,
        rope: RopeTable,
        *,
        scale: float,
        window: int | None = None,
    ) -> Array:
        """What each row of norm(x) gathers from the keys it sees: (M, H * D)."""
        qkv = step.linear(x, self.qkv, "qkv", norm=norm, bias=self.bias)
        q = step.rotate_and_store(
            self.layer_id, qkv, rope, query_norm=self.query_norm, key_norm=self.key_norm
        )
        return step.attend(self.layer_id, q, scale=scale, window=window)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFeedForward:
    """activation(h @ gate.T) * (h @ up.T), then down. Source: arXiv:2002.05202."""

    gate_up: Any  # (2 F, C): the rows of gate, then of up
    down: Any  # (C, F)

    @classmethod
    def load(cls, weights: WeightLoader, config: ModelConfig, layer_id: int) -> Self:
        c, name = config, f"blk.{layer_id}.ffn_"
        size = c.feed_forward_size
        parts = [(name + "gate.weight", size), (name + "up.weight", size)]
        return cls(
            gate_up=weights.stacked(parts, c.hidden_size),
            down=weights.matrix(name + "down.weight", c.hidden_size, size),
        )

    def inner(self, step: ForwardPass, x: Array, norm: RmsNorm) -> Array:
        """Gates and what they open, (M, 2 F), of norm(x)."""
        return step.linear(x, self.gate_up, "gate_up", norm=norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Final norm and output matrix; the matrix is the embedding where the file has no other."""

    norm: RmsNorm  # (C,)
    output: Any  # (V, C)

    @classmethod
    def load(cls, weights: WeightLoader, config: ModelConfig) -> Self:
        c = config
        return cls(
            norm=weights.norm("output_norm.weight", c.hidden_size, c.rms_eps),
            output=weights.head(head_name(weights.names), c.vocab_size, c.hidden_size),
        )

    def logits(self, step: ForwardPass, x: Array) -> Array:
        """(W, V) of the wanted rows; x as `ForwardPass.wanted` gave it."""
        return step.logits(x, self.output, self.norm)


def head_name(names: Container[str]) -> str:
    """The tensor that makes logits: the embedding where the file has no other."""
    return "output.weight" if "output.weight" in names else "token_embd.weight"
