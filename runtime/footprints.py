"""What models and drafts take in RAM where the CPU runs them."""

from typing import TYPE_CHECKING

from slipstream.offload.plan import Footprint
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.engine import LARGEST_CHUNK, Scoring
from slipstream.runtime.models import ModelConfig, head_name
from slipstream.runtime.speculation import CATCH_UP_ROWS, DRAFT_KV

if TYPE_CHECKING:
    from slipstream.runtime.dovetail import DraftFile


def footprint_of(
    file: ModelFile,
    config: ModelConfig,
    backend: Backend,
    kv_dtype: str,
    head_rows: int | None = None,
) -> Footprint:
    """What the model costs. An embedding that is not also the head stays in the file."""
    vocab_size = min(config.vocab_size, head_rows or config.vocab_size)
    head = file.tensors.get(head_name(file.tensors))
    packed = sum(
        backend.ops.weight_bytes(tensor.quant_type, *tensor.shape)
        for tensor in file.tensors.values()
        if len(tensor.shape) == 2 and tensor.name.startswith("blk.")
    )
    if head is not None and len(head.shape) == 2:  # else loading says what is wrong with it
        packed += backend.ops.weight_bytes(head.quant_type, vocab_size, head.shape[1])
    widest = max(config.feed_forward_size, config.hidden_size, config.num_heads * config.head_size)
    return Footprint(
        weights_bytes=packed,
        read_bytes_per_token=packed,
        kv_bytes_per_token=config.kv_bytes_per_token(kv_dtype),
        workspace_bytes=4 * (LARGEST_CHUNK * 6 * widest + Scoring.chunk_limit * vocab_size),
        trained_context=config.context_length,
    )


def trained_footprint(draft: "DraftFile", target: ModelFile, backend: Backend) -> Footprint:
    """What a Dovetail draft costs, with the rows of the target's head that it scores."""
    config, num_tokens = draft.config, len(draft.head_tokens)
    head = target.tensors[head_name(target.tensors)]
    packed = backend.ops.weight_bytes(head.quant_type, num_tokens, config.hidden_size)
    for tensor in draft.tensors.values():
        if len(tensor.shape) == 2:
            packed += backend.ops.weight_bytes(tensor.quant_type, *tensor.shape)
    widest = max(config.feed_forward_size, config.hidden_size, num_tokens)
    return Footprint(
        weights_bytes=packed,
        read_bytes_per_token=packed,
        kv_bytes_per_token=config.blocks().kv_bytes_per_token(DRAFT_KV),
        workspace_bytes=4 * CATCH_UP_ROWS * 6 * widest,
        trained_context=config.window,
    )
