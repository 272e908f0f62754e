"""Llama: RMS norm, rotary attention with grouped heads, SwiGLU. SmolLM and Mistral 7B too."""

from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.models.blocks import Attention, GatedFeedForward, Head
from slipstream.runtime.models.config import ModelConfig, read_config
from slipstream.runtime.models.forward_pass import Array, ForwardPass
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.weights import WeightLoader


class Llama:
    """Llama and the models that follow it. Source: arXiv:2307.09288.

    GGUF stores its query and key rows so that rotated pairs are neighbours.
    """

    interleaved_rope = True

    def __init__(self, config: ModelConfig, weights: WeightLoader) -> None:
        c = self.config = config
        divisors = weights.optional_vector("rope_freqs.weight", c.rope_dimensions // 2)
        self._rope = RopeTable(
            c.rope_dimensions,
            c.rope_base,
            c.rope_scaling,
            divisors,
            interleaved=self.interleaved_rope,
        )
        self._embedding = weights.embedding("token_embd.weight", c.vocab_size, c.hidden_size)
        self._layers = [
            (
                weights.norm(f"blk.{i}.attn_norm.weight", c.hidden_size, c.rms_eps),
                Attention.load(weights, c, i),
                weights.norm(f"blk.{i}.ffn_norm.weight", c.hidden_size, c.rms_eps),
                GatedFeedForward.load(weights, c, i),
            )
            for i in range(c.num_layers)
        ]
        self._head = Head.load(weights, c)

    @staticmethod
    def read_config(file: ModelFile) -> ModelConfig:
        """The config of a file of this architecture."""
        return read_config(file)

    def forward(self, step: ForwardPass) -> Array:
        """Logits (W, V) of the wanted rows; the keys and values of all rows go to the cache."""
        c = self.config
        x = step.embed(self._embedding)
        for layer_id, layer in enumerate(self._layers):
            x = step.at_layer(layer_id, x)
            attention_norm, attention, feed_forward_norm, feed_forward = layer
            attended = attention.attend(
                step, x, attention_norm, self._rope, scale=c.head_size**-0.5
            )
            if layer_id + 1 == c.num_layers:  # of the other rows only keys and values count
                x, attended = step.wanted(x), step.wanted(attended)
            step.add_linear(x, attended, attention.output)
            inner = feed_forward.inner(step, x, feed_forward_norm)
            step.add_linear(x, inner, feed_forward.down, activation="silu")
        return self._head.logits(step, x)
