"""A model as the planner of placements sees it: bytes and multiply-adds of its layers and head."""

from slipstream.cpu_kernels import kv_bytes_per_token
from slipstream.offload.model_parts import LayerPart, Matrix, ModelParts
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile, Tensor
from slipstream.runtime.engine import LARGEST_CHUNK, Scoring
from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.models import ModelConfig, head_name, layer_of

_FLOAT_BYTES = 4  # of a number in a buffer or in a norm's weight


def parts_of(
    file: ModelFile,
    config: ModelConfig,
    backend: Backend,
    kv_dtype: str,
    head_rows: int | None = None,
) -> ModelParts:
    """The parts of the model in a file.

    backend   : says how many bytes a packed weight takes, on the CPU as on a GPU
    kv_dtype  : of its KV cache, see `KVPages`
    head_rows : tokens that the head gives logits of; None is all
    Raises CheckpointError for a head that is no matrix.
    """
    layers: list[list[Matrix]] = [[] for _ in range(config.num_layers)]
    for tensor in file.tensors.values():
        layer_id = layer_of(tensor.name)
        if len(tensor.shape) == 2 and layer_id is not None and layer_id < config.num_layers:
            layers[layer_id].append(_matrix(tensor, backend))
    head = file.tensors[head_name(file.tensors)]
    if len(head.shape) != 2:
        raise CheckpointError(f"{file.path}: {head.name} should be a matrix, has {head.shape}")
    kv_bytes = kv_bytes_per_token(config.num_kv_heads, config.head_size, kv_dtype)
    attention = 2 * config.num_heads * config.head_size
    vocab_size = min(config.vocab_size, head_rows or config.vocab_size)
    return ModelParts(
        layers=tuple(
            LayerPart(
                matrices=tuple(matrices),
                kv_bytes_per_token=kv_bytes,
                attention_multiply_adds=attention,
                attention_window=config.window_of(layer_id),
            )
            for layer_id, matrices in enumerate(layers)
        ),
        head=_matrix(head, backend, vocab_size),
        hidden_size=config.hidden_size,
        vocab_size=vocab_size,
        workspace_bytes=workspace_bytes(config, vocab_size) + _vector_bytes(file),
        trained_context=config.context_length,
    )


def workspace_bytes(config: ModelConfig, vocab_size: int) -> int:
    """Buffers of the largest step, in bytes; those of attention's parts are left out.

    Of a prompt's chunk: hidden states, queries with keys and values, rotated queries, what they
    gather, the two inner halves of the feed-forward layer, and these again as int8 with their
    scales. Logits are those of a scored text, of 64 rows.
    """
    c = config
    heads = (3 * c.num_heads + 2 * c.num_kv_heads) * c.head_size
    inner = 2 * c.feed_forward_size
    widest = max(c.hidden_size, c.num_heads * c.head_size, c.feed_forward_size)
    packed = widest + _FLOAT_BYTES * (widest // 32 + widest // 16)
    row_bytes = _FLOAT_BYTES * (2 * c.hidden_size + heads + inner) + packed
    return LARGEST_CHUNK * row_bytes + _FLOAT_BYTES * Scoring.chunk_limit * vocab_size


def _matrix(tensor: Tensor, backend: Backend, most_rows: int | None = None) -> Matrix:
    rows, columns = tensor.shape
    rows = min(rows, most_rows or rows)
    num_bytes: int = backend.ops.weight_bytes(tensor.quant_type, rows, columns)
    return Matrix(
        quant_type=tensor.quant_type.name, num_bytes=num_bytes, multiply_adds=rows * columns
    )


def _vector_bytes(file: ModelFile) -> int:
    """Norms and biases, a few thousandths of the weights, counted wherever a part lies."""
    return sum(
        _FLOAT_BYTES * tensor.shape[0] for tensor in file.tensors.values() if len(tensor.shape) == 1
    )
