"""Dynamic gating fusion: a hidden state and the next token's embedding become one vector.

Source: arXiv:2412.18934, section 3.2.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.backends import Backend
from slipstream.runtime.models.weights import WeightLoader


@dataclass(frozen=True, slots=True, kw_only=True)
class GatingFusion:
    """h1 = f W1, h2 = SiLU(norm(e) W2), z = sigmoid([h1; h2] Wz), x = z h1 + (1 - z) h2."""

    backend: Backend
    hidden: Any  # W1, (C, C) by output rows
    norm: RmsNorm  # (C,)
    embedding: Any  # W2, (C, C)
    gate: Any  # Wz, (C, 2 C)

    @classmethod
    def load(cls, weights: WeightLoader, backend: Backend, size: int, eps: float) -> Self:
        return cls(
            backend=backend,
            hidden=weights.matrix("fusion.hidden.weight", size, size),
            norm=weights.norm("fusion.norm.weight", size, eps),
            embedding=weights.matrix("fusion.embedding.weight", size, size),
            gate=weights.matrix("fusion.gate.weight", size, 2 * size),
        )

    def branches(self, f: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h1 and h2, each (M, C), of hidden states f and embeddings e, (M, C) float32."""
        ops = self.backend.ops
        h1 = ops.matmul(f, self.hidden, out=np.empty(f.shape, np.float32))
        h2 = ops.matmul(e, self.embedding, norm=self.norm, out=np.empty(e.shape, np.float32))
        return h1, h2 * _sigmoid(h2)

    def openings(self, h1: np.ndarray, h2: np.ndarray) -> np.ndarray:
        """z, (M, C): how much of h1 passes."""
        both = np.concatenate([h1, h2], axis=1)
        out = np.empty(h1.shape, np.float32)
        return _sigmoid(self.backend.ops.matmul(both, self.gate, out=out))

    def fuse(self, f: np.ndarray, e: np.ndarray) -> np.ndarray:
        """x, (M, C) float32, of hidden states f and embeddings e, (M, C) float32."""
        h1, h2 = self.branches(f, e)
        return blend(h1, h2, self.openings(h1, h2))


def blend(h1: np.ndarray, h2: np.ndarray, z: np.ndarray | np.float32) -> np.ndarray:
    """z h1 + (1 - z) h2; exactly h1 for z = 1 and h2 for z = 0."""
    mixed: np.ndarray = z * h1 + (np.float32(1) - z) * h2
    return mixed


def _sigmoid(x: np.ndarray) -> np.ndarray:
    half = np.float32(0.5)
    opened: np.ndarray = half * (1 + np.tanh(half * x))  # which never overflows
    return opened
