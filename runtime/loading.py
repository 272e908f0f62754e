"""From a model's name to everything that runs it: file, plan, weights, cache, engine."""

import gc
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from slipstream.offload.plan import Plan
from slipstream.runtime.backends import Backend, load_backend
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.draft_choice import DraftChoice, chosen_draft
from slipstream.runtime.draft_loading import load_draft
from slipstream.runtime.engine import Engine, Streaming, WarmUp, warm_ups
from slipstream.runtime.errors import MemoryBudgetError
from slipstream.runtime.kv_cache import KVCache, pages_for
from slipstream.runtime.kv_cache.kv_cache import PAGE_SIZE
from slipstream.runtime.loading_steps import Progress, check_vocabulary, prepare_kernels, stage_of
from slipstream.runtime.models import (
    LayerContents,
    LayerStream,
    Model,
    ModelConfig,
    empty_cache,
    load_model,
    read_model_config,
)
from slipstream.runtime.options import KV_DTYPES, Options
from slipstream.runtime.planning.model_request import ModelRequest, Planned
from slipstream.runtime.planning.overlap import overlaps
from slipstream.runtime.planning.planner import plan_for
from slipstream.runtime.planning.preset_planning import PresetPlan, plan_on
from slipstream.runtime.planning.vram_shortage import (
    VramBudget,
    VramShortageError,
    check_workspace,
    device_errors,
    limit_vram,
    smaller_plan,
)
from slipstream.runtime.speculation import Speculation
from slipstream.runtime.tokenizer import ChatTemplate, Tokenizer

_COMPILING = "compiling kernels for this GPU (once)"


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
    backends: frozenset[Backend]  # that compute the model or its draft
    vram_budget: VramBudget | None

    def close(self) -> None:
        """Stop running generations, and let go of the model and of the GPU's memory."""
        self.engine.close()
        self.speculation.close()
        if self.vram_budget is not None:
            self.vram_budget.release()

    def vram_bytes(self) -> int:
        """The most of a GPU's memory that tensors of this process have taken so far."""
        devices = [each.ops for each in self.backends if not each.ops.IN_HOST_MEMORY]
        return max((ops.peak_bytes() for ops in devices), default=0)


def plan_model(
    model: str | Path,
    options: Options,
    backend_name: str = "auto",
    draft_backend_name: str | None = None,
    progress: Progress | None = None,
) -> Plan:
    """What would be decided for a model here; reads the file's header, loads nothing.

    Raises as `load` does.
    """
    with ModelFile.open(resolve(model)) as file, chosen_draft(file, options) as draft:
        request = _request(file, options, draft, backend_name, draft_backend_name)
        return plan_for(request, progress=progress).plan


def plan_model_on(model: str | Path, options: Options, machine_name: str) -> PresetPlan:
    """What would be decided on the machine that is called so, see `machine_presets`.

    Raises as `plan_model` does.
    """
    with ModelFile.open(resolve(model)) as file, chosen_draft(file, options) as draft:
        return plan_on(_request(file, options, draft, "auto", None), machine_name)


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


def _request(
    file: ModelFile,
    options: Options,
    draft: DraftChoice,
    backend_name: str,
    draft_backend_name: str | None,
) -> ModelRequest:
    return ModelRequest(
        file=file,
        config=read_model_config(file),
        options=options,
        backend=load_backend(backend_name),
        draft=draft,
        draft_backend=load_backend(draft_backend_name or backend_name),
    )


def _load(
    model: str | Path,
    options: Options,
    backend_name: str,
    draft_backend_name: str | None,
    progress: Progress | None,
) -> Loaded:
    start = time.perf_counter()
    path = resolve(model)
    with ModelFile.open(path) as file, chosen_draft(file, options) as draft:
        request = _request(file, options, draft, backend_name, draft_backend_name)
        planned = plan_for(request, progress=progress)
        while True:
            vram_budget = limit_vram(planned)
            try:
                return _load_planned(request, planned, vram_budget, start, progress)
            except device_errors(planned) as error:
                shortage = str(error)
            gc.collect()  # what was loaded, which the error's frames and it keep alive together
            if vram_budget is not None:
                vram_budget.release()
            planned = smaller_plan(request, planned, shortage)


def _load_planned(
    request: ModelRequest,
    planned: Planned,
    vram_budget: VramBudget | None,
    start: float,
    progress: Progress | None,
) -> Loaded:
    config, plan, devices = request.config, planned.plan, planned.devices
    contents: dict[int | None, LayerContents] = {}
    weights, tokenizer, chat_template = _read_model(request, planned, contents, progress)
    costly = load_draft(request, planned, tokenizer, progress)
    # Whole pages for each sequence: else fewer of them fit than the plan says.
    num_tokens = plan.num_sequences * pages_for(plan.context) * PAGE_SIZE
    cache = empty_cache(config, devices, num_tokens, KV_DTYPES[plan.kv])
    streaming = _streaming(planned, contents, cache)
    check_workspace(planned)
    engine = Engine(weights, cache, devices, threads=plan.threads, streaming=streaming)
    _warm_up(
        engine,
        warm_ups(
            plan.context,
            streamed_from=None if streaming is None else streaming.plan.least_rows,
            in_place=not all(each.ops.IN_HOST_MEMORY for each in devices.backends),
        ),
        progress,
    )
    return Loaded(
        path=request.file.path,
        config=config,
        tokenizer=tokenizer,
        chat_template=chat_template,
        plan=plan,
        engine=engine,
        speculation=Speculation(
            request.draft.names,
            request.backend.ops,
            tokenizer.vocab_size,
            costly,
            acceptance=request.options.acceptance,
            overlap=overlaps(devices, planned.draft_backend, request.options.acceptance),
        ),
        load_s=time.perf_counter() - start,
        backends=planned.backends,
        vram_budget=vram_budget,
    )


def _read_model(
    request: ModelRequest,
    planned: Planned,
    contents: dict[int | None, LayerContents],
    progress: Progress | None,
) -> tuple[Model, Tokenizer, ChatTemplate | None]:
    """Weights on their devices, and what makes text of tokens; `contents` as in `load_model`."""
    file, threads = request.file, planned.plan.threads
    with planned.devices.computing(threads), ThreadPoolExecutor(1) as beside:
        for backend in dict.fromkeys((request.backend, *planned.backends)):
            prepare_kernels(file, backend, progress)
        # Reading a vocabulary takes a core meanwhile.
        set_num_threads = request.backend.ops.set_num_threads
        set_num_threads(max(1, threads - 1))
        pending = beside.submit(_read_tokenizer, file, request.config)
        pending.add_done_callback(lambda _: set_num_threads(threads))
        stage = stage_of(progress, "loading weights")
        weights = load_model(file, request.config, planned.devices, stage, contents=contents)
        return weights, *pending.result()


def _streaming(
    planned: Planned, contents: Mapping[int | None, LayerContents], cache: KVCache
) -> Streaming | None:
    """The layers in RAM, to be streamed to the GPU as planned."""
    made = planned.plan.placement
    if planned.gpu is None or made is None or made.streaming is None:
        return None
    layers = LayerStream(contents, cache, planned.gpu.backend, planned.devices)
    return Streaming(plan=made.streaming, layers=layers)


def _warm_up(engine: Engine, jobs: list[WarmUp], progress: Progress | None) -> None:
    """Have the GPU compile its kernels. Raises VramShortageError when its memory runs out."""
    for done, job in enumerate(jobs):
        if progress is not None:
            progress(_COMPILING, done, len(jobs))
        engine.submit(job)
        try:
            job.result()
        except MemoryBudgetError as error:
            engine.close()
            raise VramShortageError(str(error.__cause__)) from None
        except BaseException:
            engine.close()
            raise
    if progress is not None and jobs:
        progress(_COMPILING, len(jobs), len(jobs))


def _read_tokenizer(file: ModelFile, config: ModelConfig) -> tuple[Tokenizer, ChatTemplate | None]:
    tokenizer = Tokenizer.from_metadata(file.metadata, path=file.path)
    check_vocabulary(file, config, tokenizer)
    return tokenizer, ChatTemplate.from_metadata(file.metadata, tokenizer)
