"""What a model file asks of this machine, put before the planner."""

from dataclasses import replace
from typing import TYPE_CHECKING

from slipstream.cpu_kernels import KV_BLOCK_DIMENSIONS
from slipstream.offload.bandwidth import measured_read_bandwidth
from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.machine import default_threads, probe
from slipstream.offload.plan import Decision, Footprint, Plan
from slipstream.offload.planner import plan_cpu
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.draft_choice import DraftChoice
from slipstream.runtime.engine import LARGEST_CHUNK, Scoring
from slipstream.runtime.errors import MemoryBudgetError, OptionError
from slipstream.runtime.models import ModelConfig, head_name
from slipstream.runtime.options import DEFAULT_KV, KV_DTYPES, Options
from slipstream.runtime.speculation import CATCH_UP_ROWS, DRAFT_KV, MATCH, OFF

if TYPE_CHECKING:
    from slipstream.runtime.dovetail import DraftFile

# A draft gives logits of the first tokens of its vocabulary only. Merges are ordered by how often
# they were seen, so these are 97 to 99 % of English and code, for half the head's bytes.
DRAFT_HEAD_ROWS = 1 << 16


def plan_for(
    file: ModelFile,
    config: ModelConfig,
    options: Options,
    backend: Backend,
    draft: DraftChoice,
    draft_backend: Backend,
) -> Plan:
    """How the model, and the one that drafts for it on a backend of its own, are run here.

    Raises OptionError, and MemoryBudgetError before anything is loaded that would not fit.
    """
    machine = probe()
    threads = options.threads or default_threads(machine)
    machine = replace(machine, read_gb_per_s=measured_read_bandwidth(threads, machine=machine))
    kv = _choose_kv(file, config, options)
    footprint = _footprint(file, config, backend, KV_DTYPES[str(kv.value)])
    speculation = draft.decisions
    if draft.file is not None and draft.config is not None:
        own = _footprint(draft.file, draft.config, draft_backend, DRAFT_KV, DRAFT_HEAD_ROWS)
        footprint = replace(footprint, draft=own)
        speculation = (*speculation, _overlap(backend.device, draft_backend.device, options))
    if draft.trained is not None:
        own = _trained_footprint(draft.trained, file, backend)
        footprint = replace(footprint, draft=own)
    try:
        return plan_cpu(
            footprint,
            machine,
            threads=options.threads,
            context=options.context,
            backend=Decision(what="backend", value=backend.name, why=backend.reason),
            kv=kv,
            speculation=speculation,
        )
    except PlanOptionError as error:
        raise OptionError(str(error)) from error
    except PlanMemoryError as error:
        raise MemoryBudgetError(str(error)) from error


def overlaps(device: str, draft_device: str, acceptance: str) -> bool:
    """Whether a draft model goes on drafting while the target verifies, each on its device.

    Not for tokens that it draws: which of them are used must not depend on who is faster.
    """
    return device != draft_device and acceptance == MATCH


def _overlap(device: str, draft_device: str, options: Options) -> Decision:
    if overlaps(device, draft_device, options.acceptance):
        why = f"the draft goes on on {draft_device} while {device} verifies"
        return Decision(what="overlap", value="on", why=why)
    why = f"draft and target share {device}, so they take turns"
    if device != draft_device:
        why = f"acceptance {options.acceptance} lets the draft draw tokens, one place at a time"
    return Decision(what="overlap", value=OFF, why=why)


def _trained_footprint(draft: "DraftFile", target: ModelFile, backend: Backend) -> Footprint:
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


def _choose_kv(file: ModelFile, config: ModelConfig, options: Options) -> Decision:
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


def _footprint(
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
