"""The two blocks of a transformer layer, as all architectures here build them."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from slipstream.runtime.models.config import ModelConfig
from slipstream.runtime.models.forward_pass import ForwardPass
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.weights import WeightLoader

__all__ = ["Attention", "GatedFeedForward", "Head", "head_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Rotary attention with grouped heads; biases and head norms where the file has them."""

    layer_id: int
    config: ModelConfig
    query: Any  # (H * D, C)
    key: Any  # (K * D, C)
    value: Any  # (K * D, C)
    output: Any  # (C, H * D)
    query_bias: np.ndarray | None  # (H * D,)
    key_bias: np.ndarray | None  # (K * D,)
    value_bias: np.ndarray | None  # (K * D,)
    query_norm: np.ndarray | None  # (D,)
    key_norm: np.ndarray | None  # (D,)

    @classmethod
    def load(cls, weights: WeightLoader, config: ModelConfig, layer_id: int) -> Self:
        c, name = config, f"blk.{layer_id}.attn_"
        q_size, kv_size = c.num_heads * c.head_size, c.num_kv_heads * c.head_size
        return cls(
            layer_id=layer_id,
            config=config,
            query=weights.matrix(name + "q.weight", q_size, c.hidden_size),
            key=weights.matrix(name + "k.weight", kv_size, c.hidden_size),
            value=weights.matrix(name + "v.weight", kv_size, c.hidden_size),
            output=weights.matrix(name + "output.weight", c.hidden_size, q_size),
            query_bias=weights.optional_vector(name + "q.bias", q_size),
            key_bias=weights.optional_vector(name + "k.bias", kv_size),
            value_bias=weights.optional_vector(name + "v.bias", kv_size),
            query_norm=weights.optional_vector(name + "q_norm.weight", c.head_size),
            key_norm=weights.optional_vector(name + "k_norm.weight", c.head_size),
        )

    def attend(
        self,
        step: ForwardPass,
        h: np.ndarray,
        rope: RopeTable,
        *,
        scale: float,
        window: int | None = None,
    ) -> np.ndarray:
        """What each row gathers from the keys it sees: (M, H * D), before the output projection."""
        c = self.config
        q = step.heads(step.linear(h, self.query, "q", self.query_bias), c.head_size)
        k = step.heads(step.linear(h, self.key, "k", self.key_bias), c.head_size)
        v = step.heads(step.linear(h, self.value, "v", self.value_bias), c.head_size)
        if self.query_norm is not None:
            step.norm_heads(q, self.query_norm, c.rms_eps)
        if self.key_norm is not None:
            step.norm_heads(k, self.key_norm, c.rms_eps)
        step.rotate(q, rope)
        step.rotate(k, rope)
        return step.attend(self.layer_id, q, k, v, scale=scale, window=window)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFeedForward:
    """activation(h @ gate.T) * (h @ up.T), then down. Source: arXiv:2002.05202."""

    gate: Any  # (F, C)
    up: Any  # (F, C)
    down: Any  # (C, F)

    @classmethod
    def load(cls, weights: WeightLoader, config: ModelConfig, layer_id: int) -> Self:
        c, name = config, f"blk.{layer_id}.ffn_"
        return cls(
            gate=weights.matrix(name + "gate.weight", c.feed_forward_size, c.hidden_size),
            up=weights.matrix(name + "up.weight", c.feed_forward_size, c.hidden_size),
            down=weights.matrix(name + "down.weight", c.hidden_size, c.feed_forward_size),
        )

    def inner(self, step: ForwardPass, h: np.ndarray, activation: str) -> np.ndarray:
        """(M, F), before the down projection."""
        gate, up = step.linear(h, self.gate, "gate"), step.linear(h, self.up, "up")
        return step.gated(gate, up, activation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Final norm and output matrix; the matrix is the embedding where the file has no other."""

    norm: np.ndarray  # (C,)
    output: Any  # (V, C)
    rms_eps: float

    @classmethod
    def load(cls, weights: WeightLoader, config: ModelConfig) -> Self:
        c = config
        name = head_name(weights.names)
        return cls(
            norm=weights.vector("output_norm.weight", c.hidden_size),
            output=weights.matrix(name, c.vocab_size, c.hidden_size),
            rms_eps=c.rms_eps,
        )

    def logits(self, step: ForwardPass, x: np.ndarray) -> np.ndarray:
        """(W, V) of the step's wanted rows."""
        h = step.norm(step.wanted(x), self.norm, self.rms_eps)
        return step.linear(h, self.output, "logits")


def head_name(names: Container[str]) -> str:
    """The tensor that makes logits: the embedding where the file has no other."""
    return "output.weight" if "output.weight" in names else "token_embd.weight"
