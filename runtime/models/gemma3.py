"""Gemma 3: norms before and after each block, five windowed layers to one that sees all, GeGLU."""

import math
from dataclasses import dataclass, replace

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.models.blocks import Attention, GatedFeedForward, Head
from slipstream.runtime.models.config import ModelConfig, read_config
from slipstream.runtime.models.forward_pass import Array, ForwardPass
from slipstream.runtime.models.rope import RopeScaling, RopeTable
from slipstream.runtime.models.weights import WeightLoader

GLOBAL_EVERY = 6  # the last of each six layers sees the whole context
LOCAL_ROPE_BASE = 10000.0
LAYERS_OF_27B = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    attention_norm: RmsNorm  # (C,), as all four
    attention: Attention
    attention_post_norm: RmsNorm
    feed_forward_norm: RmsNorm
    feed_forward: GatedFeedForward
    feed_forward_post_norm: RmsNorm

    @classmethod
    def load(cls, weights: WeightLoader, config: ModelConfig, layer_id: int) -> "Layer":
        name, size, eps = f"blk.{layer_id}.", config.hidden_size, config.rms_eps
        return cls(
            attention_norm=weights.norm(name + "attn_norm.weight", size, eps),
            attention=Attention.load(weights, config, layer_id),
            attention_post_norm=weights.norm(name + "post_attention_norm.weight", size, eps),
            feed_forward_norm=weights.norm(name + "ffn_norm.weight", size, eps),
            feed_forward=GatedFeedForward.load(weights, config, layer_id),
            feed_forward_post_norm=weights.norm(name + "post_ffw_norm.weight", size, eps),
        )


class Gemma3:
    """Source: arXiv:2503.19786. The file's norm weights already hold the 1 that Gemma adds."""

    def __init__(self, config: ModelConfig, weights: WeightLoader) -> None:
        c = self.config = config
        self._global_rope = RopeTable(
            c.rope_dimensions, c.rope_base, c.rope_scaling, interleaved=False
        )
        self._local_rope = RopeTable(
            c.rope_dimensions, LOCAL_ROPE_BASE, RopeScaling(), interleaved=False
        )
        self._embedding = weights.embedding("token_embd.weight", c.vocab_size, c.hidden_size)
        self._layers = [Layer.load(weights, c, i) for i in range(c.num_layers)]
        self._head = Head.load(weights, c)
        # The largest model alone scales its queries by the hidden size a head, not the head size.
        per_head = c.hidden_size // c.num_heads if c.num_layers == LAYERS_OF_27B else c.head_size
        self._query_scale = per_head**-0.5

    @staticmethod
    def read_config(file: ModelFile) -> ModelConfig:
        """The config of a file of this architecture."""
        window = file.get_int("gemma3.attention.sliding_window", minimum=1)
        config = read_config(file, extra_keys=("attention.sliding_window",))
        return replace(config, sliding_window=window, global_every=GLOBAL_EVERY)

    def forward(self, step: ForwardPass) -> Array:
        """Logits (W, V) of the wanted rows; the keys and values of all rows go to the cache."""
        c = self.config
        x = step.embed(self._embedding, scale=math.sqrt(c.hidden_size))
        for layer_id, layer in enumerate(self._layers):
            x = step.at_layer(layer_id, x)
            window = c.window_of(layer_id)
            attended = layer.attention.attend(
                step,
                x,
                layer.attention_norm,
                self._global_rope if window is None else self._local_rope,
                scale=self._query_scale,
                window=window,
            )
            if layer_id + 1 == c.num_layers:  # of the other rows only keys and values count
                x, attended = step.wanted(x), step.wanted(attended)
            projected = step.linear(attended, layer.attention.output, "projected")
            step.add_normed(x, projected, layer.attention_post_norm)

            inner = layer.feed_forward.inner(step, x, layer.feed_forward_norm)
            down = layer.feed_forward.down
            projected = step.linear(inner, down, "projected", activation="gelu")
            step.add_normed(x, projected, layer.feed_forward_post_norm)
        return self._head.logits(step, x)
