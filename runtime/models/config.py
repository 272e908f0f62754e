"""What a model file says about its model, read once and checked."""

import math
from dataclasses import dataclass

from slipstream.cpu_kernels import kv_bytes_per_token
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError, UnsupportedError
from slipstream.runtime.models.rope import RopeScaling

_READ_KEYS = (
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    *RopeScaling.KEYS,
)
_HARMLESS_KEYS = ("vocab_size", "rope.scaling.finetuned")
# Present in many files with the value that means "not used".
_ZERO_KEYS = ("expert_count", "expert_used_count", "attn_logit_softcapping")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The numbers of a decoder-only transformer. Sizes are in elements, lengths in tokens."""

    architecture: str
    name: str
    context_length: int  # that the model was trained for
    vocab_size: int
    num_layers: int
    hidden_size: int
    feed_forward_size: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    rms_eps: float
    rope_base: float
    rope_dimensions: int  # of a head that are rotated
    rope_scaling: RopeScaling
    sliding_window: int | None = None  # tokens that a row sees, in layers that have a window
    global_every: int | None = None  # the last of so many layers has none; None: all have it

    def kv_bytes_per_token(self, dtype: str) -> int:
        """Bytes of keys and values that a token leaves in the cache."""
        return self.num_layers * kv_bytes_per_token(self.num_kv_heads, self.head_size, dtype)

    def window_of(self, layer_id: int) -> int | None:
        """The window of a layer; None where its rows see all tokens before them."""
        sees_all = self.global_every is not None and (layer_id + 1) % self.global_every == 0
        return None if sees_all else self.sliding_window


def read_config(file: ModelFile, *, extra_keys: tuple[str, ...] = ()) -> ModelConfig:
    """The config of a model file.

    extra_keys : names below the architecture's that this architecture reads itself
    Raises CheckpointError for missing or senseless numbers, UnsupportedError for a key that no code
    reads: it could change the result.
    """
    prefix = file.architecture
    _refuse_unknown_keys(file, prefix, extra_keys)

    def count(key: str, default: int | None = None) -> int:
        return _same_for_all_layers(file, f"{prefix}.{key}", default)

    hidden_size = count("embedding_length")
    num_heads = count("attention.head_count")
    head_size = count("attention.key_length", hidden_size // num_heads)
    if count("attention.value_length", head_size) != head_size:
        raise UnsupportedError(f"{file.path}: values of another size than keys are not supported")
    num_kv_heads = count("attention.head_count_kv", num_heads)
    if num_heads % num_kv_heads:
        raise CheckpointError(
            f"{file.path}: {num_heads} heads are not a multiple of {num_kv_heads} key/value heads"
        )
    rope_dimensions = count("rope.dimension_count", head_size)
    if rope_dimensions > head_size or rope_dimensions % 2:
        raise CheckpointError(
            f"{file.path}: {rope_dimensions} rotated dimensions; expected an even number up to "
            f"the head size, {head_size}"
        )
    if rope_dimensions < head_size:  # no published model of these architectures has that
        raise UnsupportedError(
            f"{file.path}: {prefix}.rope.dimension_count = {rope_dimensions} rotates only a part "
            f"of each head of {head_size}, which is not implemented"
        )
    rope_base = file.get_float(f"{prefix}.rope.freq_base", 10000.0)
    if not 1.0 < rope_base < math.inf:
        raise CheckpointError(
            f"{file.path}: {prefix}.rope.freq_base: expected a number above 1, got {rope_base}"
        )
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{file.path}: there is no matrix token_embd.weight")
    rms_eps = file.get_float(f"{prefix}.attention.layer_norm_rms_epsilon")
    if not 0 <= rms_eps < 1:
        raise CheckpointError(f"{file.path}: RMS norm epsilon: expected 0 to 1, got {rms_eps}")
    return ModelConfig(
        architecture=prefix,
        name=file.get_str("general.name", file.path.stem),
        context_length=count("context_length"),
        vocab_size=embedding.shape[0],
        num_layers=count("block_count"),
        hidden_size=hidden_size,
        feed_forward_size=count("feed_forward_length"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_size=head_size,
        rms_eps=rms_eps,
        rope_base=rope_base,
        rope_dimensions=rope_dimensions,
        rope_scaling=RopeScaling.from_file(file),
    )


def _same_for_all_layers(file: ModelFile, key: str, default: int | None) -> int:
    """A positive count that may be stored once or once a layer."""
    if key not in file.metadata and default is not None:
        return default
    values = set(file.get_ints(key))
    if len(values) != 1:
        raise UnsupportedError(f"{file.path}: {key} differs between layers, which is not supported")
    value = values.pop()
    if not 0 < value <= 1 << 24:
        raise CheckpointError(f"{file.path}: {key} should be positive and sensible, got {value}")
    return value


def _refuse_unknown_keys(file: ModelFile, prefix: str, extra_keys: tuple[str, ...]) -> None:
    known = {f"{prefix}.{key}" for key in (*_READ_KEYS, *_HARMLESS_KEYS, *extra_keys)}
    zeros = {f"{prefix}.{key}" for key in _ZERO_KEYS}
    for key in file.metadata:
        if not key.startswith(f"{prefix}.") or key in known:
            continue
        if key in zeros and not file.metadata[key]:
            continue
        raise UnsupportedError(
            f"{file.path}: {key} = {file.metadata[key]!r} is a feature of {prefix} models that is "
            "not implemented"
        )
