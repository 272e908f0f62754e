"""The parts of a model that may lie on different devices, in bytes and multiply-adds.

The runtime fills these in from a model file; what a part computes is not known here.
"""

from dataclasses import dataclass

from slipstream.cpu_kernels import QuantType


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A weight matrix that each row of a step is multiplied with.

    Raises ValueError for the name of a quantisation that no kernel knows.
    """

    quant_type: str  # name of a `QuantType`
    num_bytes: int  # in memory, packed for the kernels
    multiply_adds: int  # for each row of a step: its rows x its columns

    def __post_init__(self) -> None:
        if self.quant_type not in QuantType.__members__:
            raise ValueError(
                f"quant_type: expected one of {', '.join(QuantType.__members__)}; "
                f"got {self.quant_type!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPart:
    """One layer: its matrices, its attention and its share of the KV cache."""

    matrices: tuple[Matrix, ...]
    kv_bytes_per_token: int
    attention_multiply_adds: int  # for each row and each key that it sees: 2 x H x D
    attention_window: int | None = None  # most keys that a row sees; None is all that are held

    @property
    def weight_bytes(self) -> int:
        """Bytes of the matrices."""
        return sum(matrix.num_bytes for matrix in self.matrices)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the matrices for each row of a step."""
        return sum(matrix.multiply_adds for matrix in self.matrices)

    def bytes_with_kv(self, num_tokens: int) -> int:
        """Memory that the layer takes, in bytes, with a KV cache of `num_tokens` tokens."""
        return self.weight_bytes + num_tokens * self.kv_bytes_per_token

    def keys_seen(self, held_tokens: int) -> int:
        """Keys that a row sees in a cache that holds `held_tokens` tokens."""
        if self.attention_window is None:
            return held_tokens
        return min(held_tokens, self.attention_window)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParts:
    """A model: its layers in order, then the head. A draft is another one.

    The embedding is not a part: its rows come from the model file, through the CPU.
    """

    layers: tuple[LayerPart, ...]
    head: Matrix  # for each row whose logits are wanted
    hidden_size: int  # C
    vocab_size: int  # V
    workspace_bytes: int  # scratch memory of the largest step, on each device that has a part
    trained_context: int  # tokens
    attention_bytes_per_token: int = 0  # of the cache: scratch memory of attention on a GPU
    takes_turns: bool = False  # a draft that needs what the target's last step brought

    @property
    def head_bytes(self) -> int:
        """Bytes of the head."""
        return self.head.num_bytes

    @property
    def head_multiply_adds(self) -> int:
        """Multiply-adds of the head for each row whose logits are wanted."""
        return self.head.multiply_adds

    @property
    def quant_types(self) -> tuple[str, ...]:
        """Names of the quantisations of all matrices, each once, in order of appearance."""
        matrices = [matrix for layer in self.layers for matrix in layer.matrices]
        return tuple(dict.fromkeys(matrix.quant_type for matrix in [*matrices, self.head]))

    def kv_tokens(self, num_tokens: int) -> int:
        """Of `num_tokens` tokens, those the KV cache holds: at most the trained context."""
        return min(num_tokens, self.trained_context)

    def layer_bytes(self, context: int) -> list[int]:
        """Memory that each layer takes, in bytes, with a KV cache of `context` tokens."""
        tokens = self.kv_tokens(context)
        return [layer.bytes_with_kv(tokens) for layer in self.layers]

    def gpu_workspace_bytes(self, context: int) -> int:
        """Scratch memory of the largest step on a GPU, with a KV cache of `context` tokens."""
        return self.workspace_bytes + self.kv_tokens(context) * self.attention_bytes_per_token

    def whole_bytes(self, context: int, *, on_gpu: bool) -> int:
        """Memory that the model takes on one device, in bytes: all parts and the workspace."""
        workspace = self.gpu_workspace_bytes(context) if on_gpu else self.workspace_bytes
        return sum(self.layer_bytes(context)) + self.head_bytes + workspace
