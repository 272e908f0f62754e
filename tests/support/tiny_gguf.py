"""Writes tiny GGUF models with random weights, complete enough that llama.cpp runs them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np

from slipstream.cpu_kernels.quant_types import QuantType
from support.random_blocks import random_rows
from support.tiny_vocabulary import add_bpe_vocabulary, add_spm_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyShape:
    """Sizes of a tiny model. K-quants need `channels`, `feed_forward` and H * D in steps of 256."""

    num_layers: int = 2
    channels: int = 256
    num_heads: int = 4
    num_kv_heads: int = 2
    head_size: int = 64
    feed_forward: int = 768
    context_length: int = 512
    rope_base: float = 10_000.0
    sliding_window: int | None = None


_SHAPES = {
    "llama": TinyShape(num_heads=8, head_size=32, num_kv_heads=2),
    "qwen2": TinyShape(rope_base=1e6),
    "qwen3": TinyShape(num_heads=8, rope_base=1e6),
    # Every sixth layer attends to everything; the window is short so that tests leave it.
    "gemma3": TinyShape(
        num_layers=7, num_heads=8, num_kv_heads=1, rope_base=1e6, sliding_window=16
    ),
}
ARCHITECTURES = tuple(_SHAPES)


def tiny_shape(architecture: str, **changes: float) -> TinyShape:
    """The usual sizes of an architecture's tiny model, with these changes."""
    return replace(_SHAPES[architecture], **changes)


def write_tiny_model(
    path: Path,
    *,
    architecture: str,
    quant_type: QuantType = QuantType.F32,
    embedding_type: QuantType | None = None,
    seed: int = 0,
    tied: bool = True,
    rope_scaling: Mapping[str, str | float] | None = None,
    shape: TinyShape | None = None,
    vocabulary: str | None = None,
    pre_tokenizer: str = "qwen2",
    chat_template: str | None = None,
    extra_metadata: Mapping[str, str | int | float | bool] | None = None,
) -> None:
    """Write a model of one of ARCHITECTURES to `path`. Equal arguments write equal bytes.

    quant_type     : of every matrix; norms and biases are float32, as ggml wants them
    embedding_type : of the token embedding, where it differs
    tied           : no output matrix; the token embedding serves as one
    rope_scaling   : "type" "linear" (with "factor"), "yarn" (with "factor" and
                     "original_context_length") or "llama3" (these, "low_freq_factor" and
                     "high_freq_factor"; only for llama, stored as a tensor of divisors)
    vocabulary     : "bpe" or "spm"; gemma3 has "spm" and the others "bpe" unless it is given
    """
    shape = shape or _SHAPES[architecture]
    vocabulary = vocabulary or ("spm" if architecture == "gemma3" else "bpe")
    writer = gguf.GGUFWriter(path, architecture)
    _add_hyperparameters(writer, architecture, shape)
    if vocabulary == "spm":
        vocabulary_size = add_spm_vocabulary(writer)
    else:
        vocabulary_size = add_bpe_vocabulary(writer, pre_tokenizer)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for key, value in (extra_metadata or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    rng = np.random.default_rng(seed)
    if rope_scaling is not None:
        _add_rope_scaling(writer, shape, rope_scaling)
    for name, rows, columns, std in _matrices(architecture, shape, vocabulary_size, tied):
        stored_as = quant_type
        if name == "token_embd.weight" and embedding_type is not None:
            stored_as = embedding_type
        _add_matrix(writer, name, random_rows(stored_as, rows, columns, rng, std=std), stored_as)
    for name, size, mean in _vectors(architecture, shape):
        writer.add_tensor(name, rng.normal(mean, 0.1, size).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_hyperparameters(writer: gguf.GGUFWriter, architecture: str, shape: TinyShape) -> None:
    writer.add_name(f"tiny {architecture}")
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.channels)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(shape.rope_base)
    if shape.num_heads * shape.head_size != shape.channels:
        writer.add_key_length(shape.head_size)
        writer.add_value_length(shape.head_size)
    if architecture == "llama":
        writer.add_rope_dimension_count(shape.head_size)
    if shape.sliding_window is not None:
        writer.add_sliding_window(shape.sliding_window)


def _matrices(
    architecture: str, shape: TinyShape, vocabulary_size: int, tied: bool
) -> Iterator[tuple[str, int, int, float]]:
    """Name, rows, columns and standard deviation of every matrix."""
    channels, feed_forward = shape.channels, shape.feed_forward
    q_size = shape.num_heads * shape.head_size
    kv_size = shape.num_kv_heads * shape.head_size
    yield "token_embd.weight", vocabulary_size, channels, 0.1
    if not tied:
        yield "output.weight", vocabulary_size, channels, 0.1
    for layer_id in range(shape.num_layers):
        for name, rows, columns in (
            ("attn_q", q_size, channels),
            ("attn_k", kv_size, channels),
            ("attn_v", kv_size, channels),
            ("attn_output", channels, q_size),
            ("ffn_gate", feed_forward, channels),
            ("ffn_up", feed_forward, channels),
            ("ffn_down", channels, feed_forward),
        ):
            yield f"blk.{layer_id}.{name}.weight", rows, columns, columns**-0.5


def _vectors(architecture: str, shape: TinyShape) -> Iterator[tuple[str, int, float]]:
    """Name, size and mean of every norm and bias."""
    names = [("attn_norm.weight", shape.channels, 1.0), ("ffn_norm.weight", shape.channels, 1.0)]
    if architecture == "qwen2":
        names.append(("attn_q.bias", shape.num_heads * shape.head_size, 0.0))
        names.append(("attn_k.bias", shape.num_kv_heads * shape.head_size, 0.0))
        names.append(("attn_v.bias", shape.num_kv_heads * shape.head_size, 0.0))
    if architecture in ("qwen3", "gemma3"):
        names.append(("attn_q_norm.weight", shape.head_size, 1.0))
        names.append(("attn_k_norm.weight", shape.head_size, 1.0))
    if architecture == "gemma3":
        names.append(("post_attention_norm.weight", shape.channels, 1.0))
        names.append(("post_ffw_norm.weight", shape.channels, 1.0))
    yield "output_norm.weight", shape.channels, 1.0
    for layer_id in range(shape.num_layers):
        for name, size, mean in names:
            yield f"blk.{layer_id}.{name}", size, mean


def _add_matrix(writer: gguf.GGUFWriter, name: str, raw: np.ndarray, quant_type: QuantType) -> None:
    if quant_type is QuantType.F32:
        writer.add_tensor(name, raw.view(np.float32))
    elif quant_type is QuantType.F16:
        writer.add_tensor(name, raw.view(np.float16))
    else:
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType(quant_type.value))


def _add_rope_scaling(
    writer: gguf.GGUFWriter, shape: TinyShape, scaling: Mapping[str, str | float]
) -> None:
    if scaling["type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_divisors(shape, scaling))
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(scaling["type"]))
    writer.add_rope_scaling_factor(float(scaling["factor"]))
    if "original_context_length" in scaling:
        writer.add_rope_scaling_orig_ctx_len(int(scaling["original_context_length"]))


def _llama3_divisors(shape: TinyShape, scaling: Mapping[str, str | float]) -> np.ndarray:
    """What Llama 3.1 divides each rotary frequency by: (head_size / 2,) float32.

    1 for wavelengths below original / high_freq_factor, `factor` above original / low_freq_factor,
    between them a blend of the two frequencies.
    """
    factor, original = float(scaling["factor"]), float(scaling["original_context_length"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    half = shape.head_size // 2
    wavelengths = 2 * np.pi * shape.rope_base ** (np.arange(half) / half)
    blend = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - blend) / factor + blend)).astype(np.float32)
