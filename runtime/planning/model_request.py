"""A model that is asked for: its parts, how keys and values are stored, and what was planned."""

from dataclasses import dataclass

from slipstream.cpu_kernels import KV_BLOCK_DIMENSIONS
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.plan import Decision, Plan
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.draft_choice import DraftChoice
from slipstream.runtime.errors import OptionError
from slipstream.runtime.models import Devices, ModelConfig
from slipstream.runtime.options import DEFAULT_KV, KV_DTYPES, Options
from slipstream.runtime.planning.gpu import Gpu
from slipstream.runtime.planning.parts_of_files import dovetail_parts, parts_of
from slipstream.runtime.speculation import DRAFT_KV

# A draft gives logits of the first tokens of its vocabulary only. Merges are ordered by how often
# they were seen, so these are 97 to 99 % of English and code, for half the head's bytes.
DRAFT_HEAD_ROWS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A model to be run.

    backend, draft_backend : of what a GPU does not have
    """

    file: ModelFile
    config: ModelConfig
    options: Options
    backend: Backend
    draft: DraftChoice
    draft_backend: Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and what carries it out.

    gpu : where it has a part, and the bytes of its VRAM that steps take beside weights and cache
    """

    plan: Plan
    devices: Devices
    draft_backend: Backend
    gpu: Gpu | None = None
    vram_workspace_bytes: int = 0

    @property
    def backends(self) -> frozenset[Backend]:
        """All that compute something."""
        gpu = () if self.gpu is None else (self.gpu.backend,)
        return frozenset((*self.devices.backends, self.draft_backend, *gpu))


def requested_parts(request: ModelRequest, kv: str) -> tuple[ModelParts, ModelParts | None]:
    """The parts of the model and of the one that drafts for it, if one does."""
    parts = parts_of(request.file, request.config, request.backend, KV_DTYPES[kv])
    draft, backend = request.draft, request.draft_backend
    if draft.trained is not None:
        return parts, dovetail_parts(draft.trained, request.file, backend)
    if draft.file is None or draft.config is None:
        return parts, None
    return parts, parts_of(draft.file, draft.config, backend, DRAFT_KV, DRAFT_HEAD_ROWS)


def choose_kv(file: ModelFile, config: ModelConfig, options: Options) -> Decision:
    """How keys and values are stored. Raises OptionError where the model can't have it so."""
    if options.kv == "auto":
        return Decision(what="kv", value=DEFAULT_KV, why="the default; q8_0 takes half the memory")
    if KV_DTYPES[options.kv] != "float16" and config.head_size % KV_BLOCK_DIMENSIONS:
        raise OptionError(
            f"kv: {options.kv} needs heads of a multiple of {KV_BLOCK_DIMENSIONS} dimensions, "
            f"{config.name} has {config.head_size}; use f16"
        )
    if KV_DTYPES[options.kv] == "int4" and "blk.0.attn_k.bias" in file.tensors:
        # They are up to 20 times what keys differ by: with Qwen2.5 1.5B the text is noise.
        raise OptionError(
            f"kv: {options.kv} can't hold the keys of {config.name}, to which the model adds large "
            "biases; use q8_0"
        )
    return Decision(what="kv", value=options.kv, why="asked for")
