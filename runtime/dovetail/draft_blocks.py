"""The draft's layers: gating fusion, Llama blocks at the target's width, the target's own head."""

from typing import Any

from slipstream.runtime.dovetail.config import DovetailConfig
from slipstream.runtime.dovetail.gating_fusion import GatingFusion
from slipstream.runtime.models import Array, ForwardPass
from slipstream.runtime.models.blocks import Attention, GatedFeedForward
from slipstream.runtime.models.rope import RopeScaling, RopeTable
from slipstream.runtime.models.weights import Embedding, WeightLoader


class DraftBlocks:
    """A `Model` of hidden states and tokens; its own hidden states are guesses at the target's.

    The first block's attention has no norm before it, and the head none either: what comes out is
    to equal what the target's head consumes.
    """

    def __init__(
        self, config: DovetailConfig, weights: WeightLoader, embedding: Embedding, head: Any
    ) -> None:
        """embedding, head : the target's; of the head packed rows, (N, C)"""
        c = self.config = config.blocks()
        self._window = config.window
        self._embedding = embedding
        self._fusion = GatingFusion.load(weights, c.hidden_size, c.rms_eps)
        self._rope = RopeTable(c.head_size, c.rope_base, RopeScaling(), interleaved=False)
        self._layers = [
            (
                weights.norm(f"blk.{i}.attn_norm.weight", c.hidden_size, c.rms_eps) if i else None,
                Attention.load(weights, c, i),
                weights.norm(f"blk.{i}.ffn_norm.weight", c.hidden_size, c.rms_eps),
                GatedFeedForward.load(weights, c, i),
            )
            for i in range(c.num_layers)
        ]
        self._head = head

    def forward(self, step: ForwardPass) -> Array:
        """Logits (W, N) of the wanted rows; the keys and values of all rows go to the cache."""
        hidden, embedded = step.begin_at_layer(0, step.given(), step.embed(self._embedding))
        x = self._fusion.fuse(step, hidden, embedded)
        scale = self.config.head_size**-0.5
        for layer_id, layer in enumerate(self._layers):
            x = step.at_layer(layer_id, x)
            attention_norm, attention, feed_forward_norm, feed_forward = layer
            attended = attention.attend(
                step, x, attention_norm, self._rope, scale=scale, window=self._window
            )
            if layer_id + 1 == self.config.num_layers:
                x, attended = step.wanted(x), step.wanted(attended)
            step.add_linear(x, attended, attention.output)
            inner = feed_forward.inner(step, x, feed_forward_norm)
            step.add_linear(x, inner, feed_forward.down, activation="silu")
        return step.logits(x, self._head, None)
