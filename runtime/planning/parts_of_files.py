"""A model as the planner of placements sees it: bytes and multiply-adds of its layers and head."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from slipstream.cpu_kernels import kv_bytes_per_token
from slipstream.offload.model_parts import LayerPart, Matrix, ModelParts
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile, Tensor
from slipstream.runtime.engine import LARGEST_CHUNK, Scoring
from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.models import ModelConfig, head_name, layer_of
from slipstream.runtime.speculation import CATCH_UP_ROWS, DRAFT_KV, MOST_TIMED_ROWS

if TYPE_CHECKING:
    from slipstream.runtime.dovetail import DraftFile

_FLOAT_BYTES = 4  # of a number in a buffer or in a norm's weight

# Of a GPU's attention; written again here since its module can't be imported without torch.
SMALL_STEP_ROWS = 16
KEYS_A_PART = 128


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
    Raises CheckpointError for a head that is missing or no matrix.
    """
    layers = _matrices_of_layers(file.tensors, config, backend)
    name = head_name(file.tensors)
    head = file.tensors.get(name)
    if head is None:
        raise CheckpointError(f"{file.path}: the tensor {name} is missing")
    if len(head.shape) != 2:
        raise CheckpointError(f"{file.path}: {name} should be a matrix, has {head.shape}")
    vocab_size = min(config.vocab_size, head_rows or config.vocab_size)
    return ModelParts(
        layers=_layer_parts(layers, config, kv_dtype),
        head=_matrix(head, backend, vocab_size),
        hidden_size=config.hidden_size,
        vocab_size=vocab_size,
        workspace_bytes=workspace_bytes(config, vocab_size) + _vector_bytes(file.tensors),
        trained_context=config.context_length,
        attention_bytes_per_token=_attention_bytes_per_token(config),
    )


def dovetail_parts(draft: "DraftFile", target: ModelFile, backend: Backend) -> ModelParts:
    """The parts of a Dovetail draft of the model in `target`; its fusion is of the first layer.

    Its head is the rows of the target's that it scores. Its steps begin with hidden states of the
    target, or with their own, so that it and the target take turns.
    """
    config, num_tokens = draft.config.blocks(), len(draft.head_tokens)
    first, *others = _matrices_of_layers(draft.tensors, config, backend)
    fusion = [
        _matrix(tensor, backend)
        for tensor in draft.tensors.values()
        if len(tensor.shape) == 2 and layer_of(tensor.name) is None
    ]
    return ModelParts(
        layers=_layer_parts([[*fusion, *first], *others], config, DRAFT_KV),
        head=_matrix(target.tensors[head_name(target.tensors)], backend, num_tokens),
        hidden_size=config.hidden_size,
        vocab_size=num_tokens,
        workspace_bytes=_dovetail_workspace_bytes(config, num_tokens)
        + _vector_bytes(draft.tensors),
        trained_context=config.context_length,
        attention_bytes_per_token=_attention_bytes_per_token(config),
        takes_turns=True,
    )


def workspace_bytes(config: ModelConfig, vocab_size: int) -> int:
    """Buffers of the largest step, in bytes, but for those of `_attention_bytes_per_token`.

    Rows are those of a prompt's chunk, logits those of a scored text, of 64 rows.
    """
    return LARGEST_CHUNK * _row_bytes(config) + _FLOAT_BYTES * Scoring.chunk_limit * vocab_size


def _dovetail_workspace_bytes(config: ModelConfig, num_tokens: int) -> int:
    """As `workspace_bytes`, of a Dovetail draft.

    Fusion has five buffers of a row beside its blocks' and its two inputs, which steps that are
    kept have each for itself: of one for each number of rows.
    """
    fused = _FLOAT_BYTES * 5 * config.hidden_size
    given = _FLOAT_BYTES * 2 * config.hidden_size
    kept_rows = sum(range(1, MOST_TIMED_ROWS + 1))
    logits = _FLOAT_BYTES * MOST_TIMED_ROWS * num_tokens
    return CATCH_UP_ROWS * (_row_bytes(config) + fused + given) + kept_rows * given + logits


def _row_bytes(config: ModelConfig) -> int:
    """Buffers of one row of a step, in bytes.

    Hidden states, queries with keys and values, rotated queries, what they gather, the two inner
    halves of the feed-forward layer, and these again as int8 with their scales.
    """
    c = config
    heads = (3 * c.num_heads + 2 * c.num_kv_heads) * c.head_size
    inner = 2 * c.feed_forward_size
    widest = max(c.hidden_size, c.num_heads * c.head_size, c.feed_forward_size)
    packed = widest + _FLOAT_BYTES * (widest // 32 + widest // 16)
    return _FLOAT_BYTES * (2 * c.hidden_size + heads + inner) + packed


def _attention_bytes_per_token(config: ModelConfig) -> int:
    """What attention on a GPU takes for each token that the cache has room for.

    In small steps each part of the keys leaves sums of its own, of a vector of the head's size and
    two numbers for each row and head: once in steps that are kept, once in others.
    """
    numbers = SMALL_STEP_ROWS * config.num_heads * (config.head_size + 2)
    return 2 * _FLOAT_BYTES * numbers // KEYS_A_PART


def _matrices_of_layers(
    tensors: Mapping[str, Tensor], config: ModelConfig, backend: Backend
) -> list[list[Matrix]]:
    layers: list[list[Matrix]] = [[] for _ in range(config.num_layers)]
    for tensor in tensors.values():
        layer_id = layer_of(tensor.name)
        if len(tensor.shape) == 2 and layer_id is not None and layer_id < config.num_layers:
            layers[layer_id].append(_matrix(tensor, backend))
    return layers


def _layer_parts(
    layers: Iterable[Iterable[Matrix]], config: ModelConfig, kv_dtype: str
) -> tuple[LayerPart, ...]:
    """Layers that have these matrices."""
    return tuple(
        LayerPart(
            matrices=tuple(matrices),
            kv_bytes_per_token=kv_bytes_per_token(config.num_kv_heads, config.head_size, kv_dtype),
            attention_multiply_adds=2 * config.num_heads * config.head_size,
            attention_window=config.window_of(layer_id),
        )
        for layer_id, matrices in enumerate(layers)
    )


def _matrix(tensor: Tensor, backend: Backend, most_rows: int | None = None) -> Matrix:
    rows, columns = tensor.shape
    rows = min(rows, most_rows or rows)
    num_bytes: int = backend.ops.weight_bytes(tensor.quant_type, rows, columns)
    return Matrix(
        quant_type=tensor.quant_type.name, num_bytes=num_bytes, multiply_adds=rows * columns
    )


def _vector_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Norms and biases, a few thousandths of the weights, counted wherever a part lies."""
    return sum(
        _FLOAT_BYTES * tensor.shape[0] for tensor in tensors.values() if len(tensor.shape) == 1
    )
