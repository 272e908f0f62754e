"""From a model's name to everything that runs it: file, plan, weights, cache, engine."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from slipstream.offload.plan import Plan
from slipstream.runtime.backends import load_backend
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.draft_choice import chosen_draft
from slipstream.runtime.draft_loading import load_draft
from slipstream.runtime.engine import Engine
from slipstream.runtime.errors import MemoryBudgetError
from slipstream.runtime.kv_cache import KVCache, pages_for
from slipstream.runtime.kv_cache.kv_cache import PAGE_SIZE
from slipstream.runtime.loading_steps import Progress, check_vocabulary, prepare_kernels, stage_of
from slipstream.runtime.models import ModelConfig, load_model, read_model_config
from slipstream.runtime.options import KV_DTYPES, Options
from slipstream.runtime.planning import overlaps, plan_for
from slipstream.runtime.speculation import Speculation
from slipstream.runtime.tokenizer import ChatTemplate, Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to run."""

    path: Path
    config: ModelConfig
    tokenizer: Tokenizer
    chat_template: ChatTemplate | None
    plan: Plan
    engine: Engine
    speculation: Speculation
    load_s: float


def plan_model(
    model: str | Path,
    options: Options,
    backend_name: str = "auto",
    draft_backend_name: str | None = None,
) -> Plan:
    """What would be decided for a model here; reads the file's header, loads nothing.

    Raises as `load` does.
    """
    with ModelFile.open(resolve(model)) as file, chosen_draft(file, options) as draft:
        backend = load_backend(backend_name)
        draft_backend = load_backend(draft_backend_name or backend_name)
        return plan_for(file, read_model_config(file), options, backend, draft, draft_backend)


def load(
    model: str | Path,
    options: Options,
    *,
    backend_name: str = "auto",
    draft_backend_name: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Open, check, plan and load a model, and start its engine.

    model              : a catalogue name, a path, or hf:org/repo:file.gguf, on this machine
    draft_backend_name : of the model that drafts; None for the same one
    Raises CatalogueError, CheckpointError, UnsupportedError, OptionError, MemoryBudgetError.
    """
    try:
        return _load(model, options, backend_name, draft_backend_name or backend_name, progress)
    except MemoryBudgetError:
        raise
    except MemoryError as error:
        raise MemoryBudgetError(
            f"There is not enough memory to load {model}: close other programs, raise the limit on "
            "this process (`ulimit -v`) if there is one, or use a smaller model or context."
        ) from error


def _load(
    model: str | Path,
    options: Options,
    backend_name: str,
    draft_backend_name: str,
    progress: Progress | None,
) -> Loaded:
    start = time.perf_counter()
    path = resolve(model)
    with ModelFile.open(path) as file, chosen_draft(file, options) as draft:
        config = read_model_config(file)
        backend = load_backend(backend_name)
        draft_backend = load_backend(draft_backend_name)
        plan = plan_for(file, config, options, backend, draft, draft_backend)
        with backend.computing(plan.threads), ThreadPoolExecutor(1) as beside:
            prepare_kernels(file, backend, progress)
            # Reading a vocabulary takes a core meanwhile.
            backend.ops.set_num_threads(max(1, plan.threads - 1))
            pending = beside.submit(_read_tokenizer, file, config)
            pending.add_done_callback(lambda _: backend.ops.set_num_threads(plan.threads))
            weights = load_model(file, config, backend, stage_of(progress, "loading weights"))
            tokenizer, chat_template = pending.result()
        costly = load_draft(draft, file, tokenizer, backend, draft_backend, plan, progress)
    # Whole pages for each sequence: else fewer of them fit than the plan says.
    num_tokens = plan.num_sequences * pages_for(plan.context) * PAGE_SIZE
    cache = _cache_for(config, num_tokens, KV_DTYPES[plan.kv])
    return Loaded(
        path=path,
        config=config,
        tokenizer=tokenizer,
        chat_template=chat_template,
        plan=plan,
        engine=Engine(weights, cache, backend, threads=plan.threads),
        speculation=Speculation(
            draft.names,
            backend.ops,
            tokenizer.vocab_size,
            costly,
            acceptance=options.acceptance,
            overlap=overlaps(backend.device, draft_backend.device, options.acceptance),
        ),
        load_s=time.perf_counter() - start,
    )


def _cache_for(config: ModelConfig, num_tokens: int, dtype: str) -> KVCache:
    return KVCache(
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_size=config.head_size,
        num_tokens=num_tokens,
        dtype=dtype,
    )


def _read_tokenizer(file: ModelFile, config: ModelConfig) -> tuple[Tokenizer, ChatTemplate | None]:
    tokenizer = Tokenizer.from_metadata(file.metadata, path=file.path)
    check_vocabulary(file, config, tokenizer)
    return tokenizer, ChatTemplate.from_metadata(file.metadata, tokenizer)
