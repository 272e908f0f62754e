"""From the choice of a draft to the drafter that has it loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from slipstream.offload.plan import Plan
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import OptionError
from slipstream.runtime.kv_cache import pages_for
from slipstream.runtime.kv_cache.kv_cache import PAGE_SIZE
from slipstream.runtime.loading_steps import Progress, check_vocabulary, prepare_kernels, stage_of
from slipstream.runtime.models import ModelConfig, load_model
from slipstream.runtime.planning.model_request import DRAFT_HEAD_ROWS, ModelRequest, Planned
from slipstream.runtime.speculation import CostlyDrafter, DraftModel, ModelDrafter, TimedSequence
from slipstream.runtime.tokenizer import Tokenizer

if TYPE_CHECKING:
    from slipstream.runtime.dovetail import DraftFile


def load_draft(
    request: ModelRequest, planned: Planned, tokenizer: Tokenizer, progress: Progress | None
) -> CostlyDrafter | None:
    """The drafter that has a draft of its own, if there is to be one.

    tokenizer : of the target
    Raises OptionError where a draft's tokens are not the target's, and as `load` does.
    """
    choice, plan, backend = request.draft, planned.plan, planned.draft_backend
    if choice.trained is not None:
        return _load_dovetail(choice.trained, request.file, tokenizer, backend, plan)
    if choice.file is None or choice.config is None:
        return None
    return _load_draft_model(choice.file, choice.config, tokenizer, backend, plan, progress)


def _load_draft_model(
    file: ModelFile,
    config: ModelConfig,
    target: Tokenizer,
    backend: Backend,
    plan: Plan,
    progress: Progress | None,
) -> ModelDrafter:
    with backend.computing(plan.threads):
        tokenizer = Tokenizer.from_metadata(file.metadata, path=file.path)
        check_vocabulary(file, config, tokenizer)
        _check_same_tokens(file.path, tokenizer, target)
        prepare_kernels(file, backend, progress)
        stage = stage_of(progress, "loading the draft's weights")
        weights = load_model(file, config, backend, stage, head_rows=DRAFT_HEAD_ROWS)
    num_tokens = pages_for(plan.context) * PAGE_SIZE
    sequence = TimedSequence(weights, backend, threads=plan.threads, num_tokens=num_tokens)
    if not backend.ops.IN_HOST_MEMORY:
        sequence.warm_up()
    return ModelDrafter(DraftModel(sequence, vocab_size=tokenizer.vocab_size), target.vocab_size)


def _load_dovetail(
    file: "DraftFile", target: ModelFile, tokenizer: Tokenizer, backend: Backend, plan: Plan
) -> CostlyDrafter:
    from slipstream.runtime.dovetail.dovetail_drafter import DovetailDrafter
    from slipstream.runtime.dovetail.draft import DovetailDraft

    num_tokens = pages_for(plan.context) * PAGE_SIZE
    draft = DovetailDraft(file, target, backend, threads=plan.threads, num_tokens=num_tokens)
    if not backend.ops.IN_HOST_MEMORY:
        draft.sequence.warm_up(file.config.hidden_size)
    return DovetailDrafter(draft, tokenizer.vocab_size, file.config.window)


def _check_same_tokens(path: Path, draft: Tokenizer, target: Tokenizer) -> None:
    """One vocabulary may begin the other: a token that only one has is never drafted."""
    different = target.first_difference(draft)
    if different is not None:
        raise OptionError(
            f"draft: {path.name} has another vocabulary: token {different} is "
            f"{draft.token_text(different)!r} there and {target.token_text(different)!r} in the "
            "model that it should draft for; use a draft of the same family"
        )
