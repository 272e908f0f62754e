"""A Dovetail draft on a GPU: the numbers of the CPU, within the VRAM, and the same answers."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, compiled
from slipstream.offload.device_costs import NominalDeviceCosts
from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES, Device, Placement
from slipstream.runtime.backends import Backend, load_backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.dovetail import DraftFile
from slipstream.runtime.dovetail.draft import DovetailDraft
from slipstream.runtime.kv_cache.kv_cache import PAGE_SIZE
from slipstream.runtime.llm import LLM
from slipstream.runtime.loading import plan_model_on
from slipstream.runtime.options import Options
from slipstream.runtime.planning import preset_planning
from slipstream.runtime.planning.parts_of_files import dovetail_parts
from slipstream.runtime.speculation.timed_sequence import TimedSequence
from support.fixed_costs import draft_always
from support.interpreted_models import gpu_backend
from support.op_tolerances import spread_error
from support.standin_gpu import MB, StandinGpu, planned_so, room, use
from support.strict_device import strict_backend
from support.tiny_draft import chain, write_tiny_draft
from support.tiny_gguf import tiny_shape, write_tiny_model

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")

CONTEXT = 4 * PAGE_SIZE
NUM_LAYERS = 3
DEVICES: tuple[Device, ...] = ("cpu", "gpu")
PROMPT = list(range(5, 25))
GREEDY = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    shape = tiny_shape("llama", num_layers=NUM_LAYERS)
    write_tiny_model(path, architecture="llama", quant_type=QuantType.Q8_0, shape=shape)
    return path


@pytest.fixture(scope="module")
def draft(target: Path) -> Path:
    path = target.with_name("draft.safetensors")
    write_tiny_draft(path, target, blocks=2, window=24)
    return path


def opened(draft: Path, target: Path, backend: Backend) -> DovetailDraft:
    with ModelFile.open(target) as file:
        return DovetailDraft(DraftFile.open(draft), file, backend, threads=2, num_tokens=512)


def fed(draft: DovetailDraft, counts: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Logits, hidden states and likeliest tokens after feedings of so many rows."""
    hidden = np.random.default_rng(1).normal(size=(sum(counts), 256)).astype(np.float32)
    tokens, start = list(chain(sum(counts), 90)), 0
    for count in counts:
        end = start + count
        logits, guessed = draft.feed(hidden[start:end], tokens[start:end])
        yield np.array(draft.sequence.to_host(logits))
        yield guessed
        yield from draft.sequence.likeliest(logits, 8)
        start = end


def test_it_has_the_bits_of_the_cpu(target: Path, draft: Path) -> None:
    """In steps that run once, for the first time, and again."""
    counts = (40, 3, 1, 1, 3, 1, 2)
    device = strict_backend("device", compiled, on_device=True)
    on_cpu, on_device = (opened(draft, target, each) for each in (load_backend("numba"), device))
    for got, want in zip(fed(on_device, counts), fed(on_cpu, counts), strict=True):
        np.testing.assert_array_equal(got, want)
    assert on_cpu.sequence.link_bytes == 0


def test_what_crosses_the_link_is_counted(target: Path, draft: Path) -> None:
    """Up go a row's hidden state and embedding, down its hidden state and what is likeliest."""
    device = strict_backend("device", compiled, on_device=True)
    on_device = opened(draft, target, device)
    hidden = np.zeros((1, 256), np.float32)
    crossed = []
    for token in range(4):
        before = on_device.sequence.link_bytes
        logits, _ = on_device.feed(hidden, [token])
        on_device.sequence.likeliest(logits, 8)
        crossed.append(on_device.sequence.link_bytes - before)
    states, candidates = 3 * hidden.nbytes, 8 * 8
    assert len(set(crossed)) == 1
    assert states + candidates < crossed[0] < states + candidates + 1000  # places and angles


def test_hidden_states_of_a_target_on_the_gpu_are_counted(
    target: Path, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt's go up to the head, and as it consumed them down to the draft."""
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    planned_so(monkeypatch, NUM_LAYERS, (), True, "cpu")
    with LLM(target, draft=str(draft), speculate="dovetail", context=CONTEXT) as llm:
        made = llm.generate(PROMPT, temperature=0, max_tokens=1)
    states = 4 * len(PROMPT) * 256
    assert 2 * states < made.stats["link_bytes"] < 3 * states


PLACES = [
    each
    for each in product(((), (0,), (0, 2), (0, 1, 2)), (False, True), DEVICES)
    if each != ((), False, "cpu")  # which leaves the GPU alone
]


@pytest.mark.parametrize(("layers", "head", "device"), PLACES)
def test_answers_are_the_same_wherever_it_is(
    target: Path,
    draft: Path,
    monkeypatch: pytest.MonkeyPatch,
    layers: tuple[int, ...],
    head: bool,
    device: Device,
) -> None:
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    with LLM(target, vram_bytes=0, context=CONTEXT) as plain:
        want = plain.generate(PROMPT, **GREEDY)
    planned_so(monkeypatch, NUM_LAYERS, layers, head, device)
    with LLM(target, draft=str(draft), speculate="dovetail", context=CONTEXT) as llm:
        draft_always(llm)
        made = llm.generate(PROMPT, **GREEDY)
        assert made.token_ids == want.token_ids
        assert made.stats["drafted_tokens"] > 0
        assert made.stats["link_bytes"] > 0
        assert (llm.plan.footprint.draft is None) == (device == "gpu")
        assert any("so they take turns" in line for line in llm.plan.lines())


def test_its_bytes_are_planned(target: Path, draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone on the GPU: after loading the weights and the cache, after answers no more than all."""
    gpu = StandinGpu(room(1000 * MB))
    use(gpu, monkeypatch)
    planned_so(monkeypatch, NUM_LAYERS, (), False, "gpu")
    monkeypatch.setattr(TimedSequence, "warm_up", lambda *_: None)  # which takes the buffers
    with ModelFile.open(target) as file:
        parts = dovetail_parts(DraftFile.open(draft), file, load_backend("numba"))
    with LLM(target, draft=str(draft), context=CONTEXT) as llm:
        assert gpu.used_bytes == sum(parts.layer_bytes(CONTEXT)) + parts.head_bytes
        draft_always(llm)
        llm.generate(PROMPT * 5, **GREEDY)
        assert gpu.used_bytes <= parts.whole_bytes(CONTEXT, on_gpu=True)


def test_the_planner_puts_it_there(
    target: Path, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for all, and with room for the draft alone."""
    gpu = StandinGpu(room(1000 * MB))
    use(gpu, monkeypatch)
    with ModelFile.open(target) as file:
        parts = dovetail_parts(DraftFile.open(draft), file, load_backend("numba"))
    for num_bytes in (None, room(parts.whole_bytes(CONTEXT, on_gpu=True))):
        with LLM(target, draft=str(draft), context=CONTEXT, vram_bytes=num_bytes) as llm:
            assert llm.plan.placement is not None
            chosen = llm.plan.placement.chosen
            assert chosen.placement.draft_device == "gpu"
            assert any(line.startswith("The draft on the GPU") for line in llm.plan.lines())
            draft_always(llm)
            made = llm.generate(PROMPT, **GREEDY)
            assert 0 < made.stats["vram_bytes"] <= chosen.vram_bytes - VRAM_MARGIN_BYTES


def test_a_machine_that_is_not_here_would_have_it_on_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that has room for the draft alone: in turns with the target on the CPU."""
    target, draft = tmp_path / "tiny.gguf", tmp_path / "draft.safetensors"
    shape = tiny_shape("llama", num_layers=12)
    write_tiny_model(target, architecture="llama", quant_type=QuantType.Q8_0, shape=shape)
    write_tiny_draft(draft, target)
    with ModelFile.open(target) as file:
        parts = dovetail_parts(DraftFile.open(draft), file, load_backend("numba"))
    gpu = StandinGpu(room(parts.whole_bytes(CONTEXT, on_gpu=True)))
    costs = gpu.found(Options(), may_have_less=False).costs
    cpu = NominalDeviceCosts(read_gb_per_s=1, multiply_adds_per_s=1e12, layer_overhead_s=1e-4)
    machine = replace(costs, cpu=cpu)  # so that more rows take no longer
    monkeypatch.setattr(preset_planning, "machine_preset", lambda name: machine)
    made = plan_model_on(target, Options(draft=str(draft), context=CONTEXT), "stand-in")
    chosen = made.placement.chosen
    assert chosen.placement == Placement.window(12, draft_device="gpu")
    assert chosen.vram_bytes == room(parts.whole_bytes(CONTEXT, on_gpu=True))
    first = made.ranked[0]
    assert first.placement == chosen.placement
    assert first.simulated.link_bytes_per_token > 0
    shares = first.simulated.busy_shares
    assert shares["gpu"] > 0
    assert shares["cpu"] + shares["gpu"] <= 1


@pytest.mark.gpu
def test_the_gpu_has_the_numbers_of_the_cpu(
    target: Path, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as rounding to int8 allows: float32 rounding may bring a number to another quant."""
    gpu = opened(draft, target, gpu_backend(monkeypatch))
    cpu = opened(draft, target, load_backend("numba"))
    counts = (5, 1)
    with np.errstate(all="ignore"):  # NumPy, in which the interpreter computes
        results = list(zip(fed(gpu, counts), fed(cpu, counts), strict=True))
    for got, want in results:
        if got.dtype == np.float32:
            assert spread_error(got, want) < 0.04


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of what memory holds unread
def test_answers_with_the_gpu_drafting(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_backend(monkeypatch)
    draft = tmp_path / "draft.safetensors"
    write_tiny_draft(draft, target)
    with LLM(target, speculate="off", context=CONTEXT) as plain:
        want = plain.generate(PROMPT, temperature=0, max_tokens=4)
    options = Options(draft=str(draft), speculate="dovetail", context=CONTEXT)
    with LLM.open(target, options, backend="numba", draft_backend="triton") as llm:
        draft_always(llm)
        made = llm.generate(PROMPT, temperature=0, max_tokens=4)
    assert made.token_ids == want.token_ids
    assert made.stats["drafted_tokens"] > 0
    assert made.stats["link_bytes"] > 0
