"""What models and drafts take in RAM where the CPU runs them."""

from slipstream.offload.model_parts import ModelParts
from slipstream.offload.plan import Footprint


def footprint_of(parts: ModelParts, draft: ModelParts | None) -> Footprint:
    """What a model costs, and the one that drafts for it.

    An embedding that is not also the head stays in the file.
    """
    weights_bytes = sum(layer.weight_bytes for layer in parts.layers) + parts.head_bytes
    return Footprint(
        weights_bytes=weights_bytes,
        read_bytes_per_token=weights_bytes,
        kv_bytes_per_token=sum(layer.kv_bytes_per_token for layer in parts.layers),
        workspace_bytes=parts.workspace_bytes,
        trained_context=parts.trained_context,
        draft=None if draft is None else footprint_of(draft, None),
    )
