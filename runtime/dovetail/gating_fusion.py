"""Dynamic gating fusion: a hidden state and the next token's embedding become one vector.

Source: arXiv:2412.18934, section 3.2.
"""

from dataclasses import dataclass
from typing import Any, Self

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.models import Array, ForwardPass
from slipstream.runtime.models.weights import WeightLoader


@dataclass(frozen=True, slots=True, kw_only=True)
class GatingFusion:
    """h1 = f W1, h2 = SiLU(norm(e) W2), z = sigmoid([h1; h2] Wz), x = z h1 + (1 - z) h2."""

    hidden: Any  # W1, (C, C) by output rows
    norm: RmsNorm  # (C,)
    embedding: Any  # W2, (C, C)
    gate_of_hidden: Any  # the columns of Wz that h1 meets, (C, C)
    gate_of_embedding: Any  # those that h2 meets, (C, C)

    @classmethod
    def load(cls, weights: WeightLoader, size: int, eps: float) -> Self:
        hidden = weights.matrix("fusion.hidden.weight", size, size)
        gates = weights.split_columns("fusion.gate.weight", size, [size, size])
        return cls(
            hidden=hidden,
            norm=weights.norm("fusion.norm.weight", size, eps),
            embedding=weights.matrix("fusion.embedding.weight", size, size),
            gate_of_hidden=gates[0],
            gate_of_embedding=gates[1],
        )

    def branches(self, step: ForwardPass, f: Array, e: Array) -> tuple[Array, Array]:
        """h1 and h2, each (M, C), of hidden states f and embeddings e, (M, C) float32."""
        h1 = step.linear(f, self.hidden, "fusion_hidden")
        before_silu = step.linear(e, self.embedding, "fusion_embedding", norm=self.norm)
        return h1, step.blend_gated(before_silu, before_silu, None, "fusion_h2")

    def gate(self, step: ForwardPass, h1: Array, h2: Array) -> Array:
        """Logits of the gate z, (M, C): [h1; h2] Wz."""
        gate = step.linear(h1, self.gate_of_hidden, "fusion_gate")
        step.add_linear(gate, h2, self.gate_of_embedding)
        return gate

    def fuse(self, step: ForwardPass, f: Array, e: Array) -> Array:
        """x, (M, C) float32, of hidden states f and embeddings e, (M, C) float32."""
        h1, h2 = self.branches(step, f, e)
        return step.blend_gated(self.gate(step, h1, h2), h1, h2, "fusion")
