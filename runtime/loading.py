"""From a model's name to everything that runs it: file, plan, weights, cache, engine."""

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from slipstream.cpu_kernels import KV_BLOCK_DIMENSIONS
from slipstream.offload.bandwidth import measured_read_bandwidth
from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.machine import default_threads, probe
from slipstream.offload.plan import Decision, Footprint, Plan
from slipstream.offload.planner import plan_cpu
from slipstream.runtime.backends import Backend, load_backend
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.engine import LARGEST_CHUNK, Engine, Scoring
from slipstream.runtime.errors import CheckpointError, MemoryBudgetError, OptionError
from slipstream.runtime.kv_cache import KVCache, pages_for
from slipstream.runtime.kv_cache.kv_cache import PAGE_SIZE
from slipstream.runtime.models import ModelConfig, head_name, load_model, read_model_config
from slipstream.runtime.options import DEFAULT_KV, KV_DTYPES, Options
from slipstream.runtime.tokenizer import ChatTemplate, Tokenizer

Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to run."""

    path: Path
    config: ModelConfig
    tokenizer: Tokenizer
    chat_template: ChatTemplate | None
    plan: Plan
    engine: Engine
    load_s: float


def plan_model(model: str | Path, options: Options, backend_name: str = "auto") -> Plan:
    """What would be decided for a model here; reads the file's header, loads nothing.

    Raises as `load` does.
    """
    with ModelFile.open(resolve(model)) as file:
        return _plan(file, read_model_config(file), options, load_backend(backend_name))


def load(
    model: str | Path,
    options: Options,
    *,
    backend_name: str = "auto",
    progress: Progress | None = None,
) -> Loaded:
    """Open, check, plan and load a model, and start its engine.

    model : a catalogue name, a path, or hf:org/repo:file.gguf; it must be on this machine
    Raises CatalogueError, CheckpointError, UnsupportedError, OptionError, MemoryBudgetError.
    """
    try:
        return _load(resolve(model), options, backend_name, progress)
    except MemoryBudgetError:
        raise
    except MemoryError as error:
        raise MemoryBudgetError(
            f"There is not enough memory to load {model}: close other programs, raise the limit on "
            "this process (`ulimit -v`) if there is one, or use a smaller model or context."
        ) from error


def _load(path: Path, options: Options, backend_name: str, progress: Progress | None) -> Loaded:
    start = time.perf_counter()
    with ModelFile.open(path) as file:
        config = read_model_config(file)
        backend = load_backend(backend_name)
        plan = _plan(file, config, options, backend)
        with backend.computing(plan.threads), ThreadPoolExecutor(1) as beside:
            backend.ops.prepare(
                {tensor.quant_type for tensor in file.tensors.values()},
                _stage(progress, "compiling kernels for this CPU (once)"),
            )
            # Reading a vocabulary takes a core meanwhile.
            backend.ops.set_num_threads(max(1, plan.threads - 1))
            pending = beside.submit(_read_tokenizer, file, config)
            pending.add_done_callback(lambda _: backend.ops.set_num_threads(plan.threads))
            weights = load_model(file, config, backend, _stage(progress, "loading weights"))
            tokenizer, chat_template = pending.result()
    cache = KVCache(
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_size=config.head_size,
        # Whole pages for each sequence: else fewer of them fit than the plan says.
        num_tokens=plan.num_sequences * pages_for(plan.context) * PAGE_SIZE,
        dtype=KV_DTYPES[plan.kv],
    )
    engine = Engine(weights, cache, backend, threads=plan.threads)
    return Loaded(
        path=path,
        config=config,
        tokenizer=tokenizer,
        chat_template=chat_template,
        plan=plan,
        engine=engine,
        load_s=time.perf_counter() - start,
    )


def _read_tokenizer(file: ModelFile, config: ModelConfig) -> tuple[Tokenizer, ChatTemplate | None]:
    tokenizer = Tokenizer.from_metadata(file.metadata, path=file.path)
    _check_vocabulary(file, config, tokenizer)
    return tokenizer, ChatTemplate.from_metadata(file.metadata, tokenizer)


def _check_vocabulary(file: ModelFile, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """An embedding may be padded beyond the tokens; the size in the header counts either."""
    num_rows, num_tokens = config.vocab_size, tokenizer.vocab_size
    if num_tokens > num_rows:
        raise CheckpointError(
            f"{file.path}: {num_tokens} tokens but {num_rows} embedding rows; the file is damaged"
        )
    key = f"{config.architecture}.vocab_size"
    stated = file.get_int(key, num_rows)
    if stated not in (num_rows, num_tokens):
        raise CheckpointError(
            f"{file.path}: {key} is {stated}, but there are {num_tokens} tokens and {num_rows} "
            "embedding rows; the file is damaged"
        )


def _plan(file: ModelFile, config: ModelConfig, options: Options, backend: Backend) -> Plan:
    machine = probe()
    threads = options.threads or default_threads(machine)
    machine = replace(machine, read_gb_per_s=measured_read_bandwidth(threads, machine=machine))
    kv = _choose_kv(config, options)
    try:
        return plan_cpu(
            _footprint(file, config, backend, KV_DTYPES[str(kv.value)]),
            machine,
            threads=options.threads,
            context=options.context,
            backend=Decision(what="backend", value=backend.name, why=backend.reason),
            kv=kv,
        )
    except PlanOptionError as error:
        raise OptionError(str(error)) from error
    except PlanMemoryError as error:
        raise MemoryBudgetError(str(error)) from error


def _choose_kv(config: ModelConfig, options: Options) -> Decision:
    if options.kv == "auto":
        return Decision(what="kv", value=DEFAULT_KV, why="the default; q8_0 takes half the memory")
    if KV_DTYPES[options.kv] == "int8" and config.head_size % KV_BLOCK_DIMENSIONS:
        raise OptionError(
            f"kv: {options.kv} needs heads of a multiple of {KV_BLOCK_DIMENSIONS} dimensions, "
            f"{config.name} has {config.head_size}; use f16"
        )
    return Decision(what="kv", value=options.kv, why="asked for")


def _footprint(file: ModelFile, config: ModelConfig, backend: Backend, kv_dtype: str) -> Footprint:
    """What the model costs. An embedding that is not also the head stays in the file."""
    head = head_name(file.tensors)
    packed = sum(
        backend.ops.weight_bytes(tensor.quant_type, *tensor.shape)
        for tensor in file.tensors.values()
        if len(tensor.shape) == 2 and (tensor.name == head or tensor.name.startswith("blk."))
    )
    widest = max(config.feed_forward_size, config.hidden_size, config.num_heads * config.head_size)
    return Footprint(
        weights_bytes=packed,
        read_bytes_per_token=packed,
        kv_bytes_per_token=config.kv_bytes_per_token(kv_dtype),
        workspace_bytes=4 * (LARGEST_CHUNK * 6 * widest + Scoring.chunk_limit * config.vocab_size),
        trained_context=config.context_length,
    )


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else functools.partial(progress, stage)
