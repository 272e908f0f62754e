"""`LLM` with a GPU beside the CPU: same answers, within the VRAM, and what it says of it."""

import gc
import json
import logging
import weakref
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.apps.cli.timing_lines import timing_lines
from slipstream.cpu_kernels import QuantType
from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES, Device
from slipstream.runtime import loading
from slipstream.runtime.errors import MemoryBudgetError, OptionError
from slipstream.runtime.llm import LLM
from slipstream.runtime.models import StepRunner
from slipstream.runtime.step_batch import StepBatch
from slipstream.runtime.warm_up_rows import WARM_UP_ROWS
from support.fixed_costs import draft_always
from support.standin_gpu import (
    MB,
    DeviceMemoryError,
    StandinGpu,
    planned_so,
    room,
    streaming_budget,
    use,
)
from support.tiny_gguf import ARCHITECTURES, tiny_shape, write_tiny_model

DEVICES: tuple[Device, ...] = ("cpu", "gpu")

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")

PROMPT = list(range(5, 25))
GREEDY = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu") / "tiny.gguf"
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q4_K)
    return path


@pytest.fixture(scope="module")
def on_cpu(path: Path) -> Iterator[LLM]:
    with LLM(path, vram_bytes=0) as llm:
        yield llm


def test_without_a_gpu_the_plan_says_why(on_cpu: LLM) -> None:
    assert on_cpu.plan.placement is None
    assert any("GPU" in line and "vram_bytes is 0" in line for line in on_cpu.plan.lines())
    stats = on_cpu.generate(PROMPT, **GREEDY).stats
    assert stats["link_bytes"] == stats["vram_bytes"] == 0


@pytest.mark.parametrize(
    ("architecture", "kv"), [*((each, "f16") for each in ARCHITECTURES), ("llama", "q4_0")]
)
def test_any_budget_has_the_bits_of_the_cpu_and_is_kept(
    architecture: str, kv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, architecture=architecture, quant_type=QuantType.Q4_K)
    with LLM(path, vram_bytes=0, context=256, kv=kv) as llm:
        want, answer = llm.logits(PROMPT), llm.generate(PROMPT, **GREEDY)
    gpu = StandinGpu(room(1000 * MB))
    use(gpu, monkeypatch)
    limit, placements, num_parts = None, set(), 2
    while num_parts > 1:  # less VRAM each time
        with LLM(path, vram_bytes=limit, context=256, kv=kv) as llm:
            assert llm.plan.placement is not None
            plan = llm.plan.placement
            chosen = plan.chosen
            assert limit is None or plan.chosen.vram_bytes <= limit
            np.testing.assert_array_equal(llm.logits(PROMPT), want)
            made = llm.generate(PROMPT, **GREEDY)
            assert made.token_ids == answer.token_ids
            assert made.stats["link_bytes"] > 0
            assert 0 < made.stats["vram_bytes"] <= plan.chosen.vram_bytes - VRAM_MARGIN_BYTES
        placements.add(chosen.placement)
        num_parts = chosen.placement.num_gpu_layers + chosen.placement.head_on_gpu
        limit = plan.chosen.vram_bytes - 1
    assert len(placements) >= 3
    assert gpu.released == gpu.limits  # each one's memory is given back


@pytest.mark.parametrize("kv", ["f16", "q8_0"])
def test_prompts_are_streamed_where_that_is_planned(
    kv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps that follow are the CPU's, which has the keys and values."""
    path, shape = tmp_path / "tiny.gguf", tiny_shape("qwen2", num_layers=6)
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q4_K, shape=shape)
    prompt = [5 + i % 30 for i in range(400)]
    with LLM(path, vram_bytes=0, context=512, kv=kv) as llm:
        want = llm.generate(prompt, **GREEDY, logprobs=2)
    gpu = StandinGpu(room(1000 * MB))
    use(gpu, monkeypatch)
    with LLM(path, context=512, kv=kv) as llm:
        assert llm.plan.placement is not None
        whole_bytes = llm.plan.placement.chosen.vram_bytes
        assert llm.plan.placement.streaming is None  # with all layers on the GPU
    limit, num_streamed = whole_bytes - 1, []
    while len(num_streamed) < 12:
        with LLM(path, context=512, kv=kv, vram_bytes=limit) as llm:
            plan = llm.plan.placement
            assert plan is not None
            got = llm.generate(prompt, **GREEDY, logprobs=2)
        assert (got.token_ids, got.logprobs) == (want.token_ids, want.logprobs)
        assert 0 < got.stats["vram_bytes"] <= plan.chosen.vram_bytes - VRAM_MARGIN_BYTES
        assert plan.chosen.vram_bytes <= limit
        streaming, streamed = plan.streaming, got.stats["streamed_tokens"]
        assert streamed == (0 if streaming is None else len(prompt))
        if streaming is not None:
            rows = got.stats["streaming_rows"]
            assert rows == pytest.approx(streaming.least_rows, abs=5)
            told = f"pays from {rows} in a step, {streaming.least_rows} planned"
            assert any(told in line for line in timing_lines(got, llm.plan))
            got.stats["streaming_rows"] = None  # slower than planned
            told = f"of the prompt; pays no more, {streaming.least_rows} planned"
            assert any(told in line for line in timing_lines(got, llm.plan))
        num_streamed.append(0 if streaming is None else streaming.num_layers)
        limit = plan.chosen.vram_bytes - 1
    assert len(set(num_streamed)) > 2


def test_answers_with_a_draft_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a thread of its own on the GPU, on which the target has layers too."""
    path, draft = tmp_path / "tiny.gguf", tmp_path / "draft.gguf"
    for each, num_layers in ((path, 6), (draft, 1)):
        shape = tiny_shape("qwen2", num_layers=num_layers)
        write_tiny_model(each, architecture="qwen2", quant_type=QuantType.Q8_0, shape=shape)
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    with LLM(path, vram_bytes=0, context=256) as llm:
        want = llm.generate(PROMPT, **GREEDY)
    for on_gpu, head, device in product(((), (0,), (1, 2, 5), range(6)), (False, True), DEVICES):
        placement = planned_so(monkeypatch, 6, on_gpu, head, device)
        if not placement.uses_gpu:
            continue
        with LLM(path, draft=draft, context=256) as llm:
            draft_always(llm)
            made = llm.generate(PROMPT, **GREEDY)
        assert made.token_ids == want.token_ids, placement
        # The draft goes on meanwhile where the CPU, or all of the GPU's work, is the other's.
        beside = (device == "gpu") != (len(on_gpu) == 6 and head)
        assert ("ready_guesses" in made.stats) == beside


def test_when_memory_runs_out_a_smaller_plan_is_made_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, shape = tmp_path / "tiny.gguf", tiny_shape("qwen2", num_layers=16)
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q8_0, shape=shape)
    with LLM(path, vram_bytes=0, context=256) as llm:
        want = llm.generate(PROMPT, **GREEDY).token_ids
    short = StandinGpu(room(1000 * MB), true_bytes=12 * MB)
    use(short, monkeypatch)
    asked = room(500 * MB)
    with caplog.at_level(logging.WARNING), LLM(path, vram_bytes=asked, context=256) as llm:
        assert llm.generate(PROMPT, **GREEDY).token_ids == want
        assert llm.plan.placement is not None
        assert json.dumps(llm.plan.as_dict())
        assert 0 < llm.plan.placement.placement.num_gpu_layers < 16
    assert "The GPU's memory ran out while" in caplog.text
    assert short.limits == sorted(short.limits, reverse=True)
    assert len(short.limits) > 1
    short.limits.clear()
    with pytest.raises(MemoryBudgetError, match=r"ran out while .* leave out strict"):
        LLM(path, context=256, strict=True)


def test_a_budget_that_is_good_for_nothing_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    with pytest.raises(OptionError, match="vram_bytes: The GPU stays empty: its smallest use"):
        LLM(path, vram_bytes=10 * MB)


def test_a_full_gpu_is_left_alone_where_it_was_not_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(StandinGpu(10 * MB), monkeypatch)
    with LLM(path, context=256) as llm:
        assert llm.plan.placement is None
        assert any("The GPU stays empty" in line for line in llm.plan.lines())


def test_kernels_are_compiled_at_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the numbers of rows for which they differ; streamed ones from the least planned on."""
    path, shape = tmp_path / "tiny.gguf", tiny_shape("qwen2", num_layers=6)
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q4_K, shape=shape)
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    run, steps = StepRunner.run, []

    def noted(runner: StepRunner, batch: StepBatch, *, streamed: bool = False) -> Any:
        logits = run(runner, batch, streamed=streamed)  # or there are no free pages at first
        steps.append((len(batch.tokens), streamed))
        return logits

    monkeypatch.setattr(StepRunner, "run", noted)
    in_place = [(rows, False) for rows in WARM_UP_ROWS]
    LLM(path, context=512).close()
    assert steps == in_place
    limit, streaming = None, None
    while streaming is None:  # less VRAM each time
        steps.clear()
        with LLM(path, context=512, vram_bytes=limit) as llm:
            assert llm.plan.placement is not None
            streaming = llm.plan.placement.streaming
            limit = llm.plan.placement.chosen.vram_bytes - 1
    least_rows = max(2, streaming.least_rows)
    streamed = [512, *(rows for rows in WARM_UP_ROWS if rows > least_rows), least_rows]
    want = [(rows, True) for rows in streamed]
    assert steps == want + (in_place if streaming.num_layers < 6 else [])


def test_a_shortage_in_the_first_step_is_found_at_loading(
    tmp_path: Path, on_cpu: LLM, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Though the GPU said that there was room."""
    path, shape = tmp_path / "tiny.gguf", tiny_shape("qwen2", num_layers=16)
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q8_0, shape=shape)
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    run, num_failed = StepRunner.run, [0]

    def runs_out_once(*given: Any, **named: Any) -> Any:
        if not num_failed[0]:
            num_failed[0] = 1
            raise DeviceMemoryError("out of memory")
        return run(*given, **named)

    monkeypatch.setattr(StepRunner, "run", runs_out_once)
    with caplog.at_level(logging.WARNING), LLM(path, context=256) as llm:
        assert llm.plan.placement is not None
    assert "The GPU's memory ran out while" in caplog.text


def test_what_did_not_fit_is_gone_before_the_next_plan_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its memory would count as taken, though no collector has run meanwhile."""
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    runs: list[weakref.ref[StepRunner]] = []
    run, smaller = StepRunner.run, loading.smaller_plan

    def runs_out_once(runner: StepRunner, *given: Any, **named: Any) -> Any:
        if not runs:
            runs.append(weakref.ref(runner))
            raise DeviceMemoryError("out of memory")
        return run(runner, *given, **named)

    def planned_again(*given: Any) -> Any:
        assert runs[0]() is None
        return smaller(*given)

    monkeypatch.setattr(StepRunner, "run", runs_out_once)
    monkeypatch.setattr(loading, "smaller_plan", planned_again)
    gc.disable()
    try:
        LLM(path, context=256).close()
    finally:
        gc.enable()
    assert runs


@pytest.mark.parametrize("streams", [False, True])
def test_memory_that_runs_out_in_a_step_is_told_as_that(
    streams: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request ends; the next one finds the memory free again. Also where all is streamed."""
    path, shape = tmp_path / "tiny.gguf", tiny_shape("qwen2", num_layers=6)
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q4_K, shape=shape)
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    limit = streaming_budget(path, 6) if streams else None

    def runs_out(*_: Any, **__: Any) -> None:
        raise DeviceMemoryError("out of memory")

    with LLM(path, context=512, vram_bytes=limit) as llm:
        want = llm.generate(PROMPT, **GREEDY).token_ids
        with monkeypatch.context() as patch:
            patch.setattr(StepRunner, "run", runs_out)
            with pytest.raises(MemoryBudgetError, match="ran out during a step"):
                llm.generate(PROMPT, **GREEDY)
        assert llm.generate(PROMPT, **GREEDY).token_ids == want


@pytest.mark.parametrize("num_failing", [1, 10**6])
def test_steps_that_can_not_be_kept_run_all_the_same(
    num_failing: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What lies between the ops of a step that is kept takes memory of its own."""
    path, shape = tmp_path / "tiny.gguf", tiny_shape("qwen2", num_layers=6)
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q4_K, shape=shape)
    with LLM(path, vram_bytes=0, context=256) as llm:
        want = llm.generate(PROMPT, **GREEDY)
    gpu = StandinGpu(room(1000 * MB))
    use(gpu, monkeypatch)
    keep, tried, released = StepRunner._keep, [], []

    def runs_out(*given: Any) -> Any:
        tried.append(given)
        if len(tried) <= num_failing:
            raise DeviceMemoryError("out of memory")
        return keep(*given)

    monkeypatch.setattr(gpu.backend.ops, "release_unused", lambda: released.append(1))
    monkeypatch.setattr(StepRunner, "_keep", runs_out)
    with LLM(path, context=256) as llm:
        at_loading = len(tried)
        got = llm.generate(PROMPT, **GREEDY)
        assert len(tried) - at_loading < 8  # not in each step
    assert got.token_ids == want.token_ids
    assert released
    assert ("no memory left to keep a step of 1 rows" in caplog.text) == (num_failing > 1)
