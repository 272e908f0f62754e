"""The parts of a model that may lie on different devices, in bytes and multiply-adds.

The runtime fills these in from a model file; what a part computes is not known here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPart:
    """One layer and its share of the KV cache."""

    weight_bytes: int
    multiply_adds: int  # of its matrices, for each row of a step
    kv_bytes_per_token: int

    def bytes_with_kv(self, num_tokens: int) -> int:
        """Bytes of the weights and of the keys and values of `num_tokens` tokens.

        With the tokens of the whole context it is the memory that the layer takes; with those that
        the cache holds it is what a step reads, which is each weight, key and value once.
        """
        return self.weight_bytes + num_tokens * self.kv_bytes_per_token


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParts:
    """A model: its layers in order, then the head. A draft model is another one.

    The embedding is not a part: its rows come from the model file, through the CPU.
    """

    layers: tuple[LayerPart, ...]
    head_bytes: int
    hidden_size: int  # C
    vocab_size: int  # V
    workspace_bytes: int  # scratch memory of the largest step, on each device that has a part
    trained_context: int  # tokens

    @property
    def head_multiply_adds(self) -> int:
        """Multiply-adds of the head for each row whose logits are wanted: C x V."""
        return self.hidden_size * self.vocab_size

    def kv_tokens(self, num_tokens: int) -> int:
        """Of `num_tokens` tokens, those the KV cache holds: at most the trained context."""
        return min(num_tokens, self.trained_context)

    def layer_bytes(self, context: int) -> list[int]:
        """Memory that each layer takes, in bytes, with a KV cache of `context` tokens."""
        tokens = self.kv_tokens(context)
        return [layer.bytes_with_kv(tokens) for layer in self.layers]

    def whole_bytes(self, context: int) -> int:
        """Memory that the model takes on one device, in bytes: all parts and the workspace."""
        return sum(self.layer_bytes(context)) + self.head_bytes + self.workspace_bytes
