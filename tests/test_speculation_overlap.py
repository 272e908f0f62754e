"""A draft model on a device of its own: the same guesses, the same answers, and in less time."""

import gc
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_speculation_engine import PROMPTS, SAMPLINGS, shown

from slipstream.cpu_kernels import QuantType
from slipstream.runtime import loading
from slipstream.runtime.errors import EngineError
from slipstream.runtime.llm import LLM
from slipstream.runtime.loading import plan_model
from slipstream.runtime.options import Options
from slipstream.runtime.speculation import ROOT, DraftTree, Guess, Speculation
from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.draft_ends import chances_of, ends_of
from support.fixed_costs import draft_always
from support.scripted_model import wait_until
from support.slow_devices import SlowDevice, slow_device
from support.tiny_gguf import write_tiny_model
from support.tiny_llm import endless

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")

VERIFIES, DRAFTS = "verifying", "drafting"  # devices


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A target, and another model with the same vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / f"{name}.gguf" for name in ("target", "other")}
    write_tiny_model(
        paths["target"], architecture="qwen2", quant_type=QuantType.Q4_K, vocabulary="bpe"
    )
    write_tiny_model(paths["other"], architecture="qwen2", quant_type=QuantType.Q8_0, seed=5)
    return paths


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, SlowDevice]:
    """One to verify on and one to draft on."""
    return {
        VERIFIES: slow_device(VERIFIES, 0.002, monkeypatch),
        DRAFTS: slow_device(DRAFTS, 0.001, monkeypatch),
    }


@contextmanager
def drafted(
    target: Path, draft: Path, *, backend: str = VERIFIES, draft_backend: str = DRAFTS
) -> Iterator[LLM]:
    options = Options(speculate="model", draft=str(draft), seed=1)
    with LLM.open(target, options, backend=backend, draft_backend=draft_backend) as llm:
        yield llm


def eager(llm: LLM) -> None:
    """From now on steps seem to be dear, with up to 8 rows all the same, and drafts cheap."""
    draft_always(llm, {1: 1.0, 8: 1.0, 32: 20.0})


def leave_time(devices: dict[str, SlowDevice]) -> None:
    """From now on a step of the target lasts until the draft made three, or has nothing to do."""

    def wait() -> None:
        drafting, end_s = devices[DRAFTS], time.perf_counter() + 0.03
        enough = drafting.steps + 3
        wait_until(lambda: drafting.steps >= enough or time.perf_counter() > end_s)

    devices[VERIFIES].before = wait


def draft_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("slipstream-draft")]


def guesses_of(speculation: Speculation, paths: Sequence[tuple[int, ...]]) -> list[Any]:
    drafter = speculation._costly
    drafter.begin([7, 8, 9])
    return [drafter.guesses(path, None) for path in paths]


def test_a_draft_runs_unchanged_on_whatever_backend_is_named(
    models: dict[str, Path], devices: dict[str, SlowDevice]
) -> None:
    paths = [(9,), (9, 5), (9, 5, 6), (9, 4), (9, 5, 6, 7)]
    found = []
    for draft_backend in ("numba", DRAFTS):
        with drafted(
            models["target"], models["other"], backend="numba", draft_backend=draft_backend
        ) as llm:
            found.append(guesses_of(llm._loaded.speculation, paths))
    assert found[0] == found[1]
    assert all(found[0])
    assert devices[DRAFTS].steps >= len(paths)
    assert devices[VERIFIES].steps == 0


def test_the_plan_says_whether_drafts_are_made_beside_the_target(
    models: dict[str, Path], devices: dict[str, SlowDevice]
) -> None:
    options = Options(speculate="model", draft=str(models["other"]))
    for draft_backend, value in ((DRAFTS, "on"), (VERIFIES, "off"), (None, "off")):
        plan = plan_model(models["target"], options, VERIFIES, draft_backend)
        found = next(each for each in plan.decisions if each.what == "overlap")
        assert found.value == value
        assert VERIFIES in found.why
        assert (DRAFTS in found.why) == (value == "on")
    with drafted(models["target"], models["other"], draft_backend=VERIFIES) as llm:
        assert "ready_guesses" not in llm.generate("the", max_tokens=5).stats
        assert not draft_threads()
    drawn = Options(speculate="model", draft=str(models["other"]), acceptance="rejection")
    plan = plan_model(models["target"], drawn, VERIFIES, DRAFTS)
    found = next(each for each in plan.decisions if each.what == "overlap")
    assert (found.value, "rejection" in found.why) == ("off", True)
    with LLM.open(models["target"], drawn, backend=VERIFIES, draft_backend=DRAFTS) as llm:
        for temperature in (0, 1):
            llm.generate("the", max_tokens=5, temperature=temperature, seed=1)
        assert not draft_threads()
    alone = plan_model(models["target"], Options(), VERIFIES)
    assert "overlap" not in [each.what for each in alone.decisions]


@pytest.mark.parametrize(
    ("draft", "count"), [("target", "ready_guesses"), ("other", "awaited_guesses")]
)
def test_drafts_beside_the_target_change_nothing(
    models: dict[str, Path], devices: dict[str, SlowDevice], draft: str, count: str
) -> None:
    """Those of the target itself, which come true, and those that lead nowhere."""
    requests = [(prompt, sampling) for prompt in PROMPTS for sampling in SAMPLINGS]
    with LLM(models["target"], speculate="off") as plain:
        want = [plain.generate(prompt, max_tokens=30, **sampling) for prompt, sampling in requests]
    with drafted(models["target"], models[draft]) as llm:
        eager(llm)
        if draft == "target":
            leave_time(devices)
        got = [llm.generate(prompt, max_tokens=30, **sampling) for prompt, sampling in requests]
        held = llm._loaded.speculation._costly._model
        wait_until(lambda: llm._loaded.speculation._thread._executor._work_queue.empty())
    assert list(map(shown, got)) == list(map(shown, want))
    assert sum(each.stats["drafted_tokens"] for each in got) > 200
    assert sum(each.stats[count] for each in got) > 50
    assert len(held.tokens) == held.sequence.length  # whatever was cut back


def rounds(llm: LLM, drafting: SlowDevice) -> list[tuple[float, float]]:
    """Of some answers: seconds of a round, and those that the draft's steps in it take."""
    llm.generate("the and on", max_tokens=40, **endless(llm))  # until it is known what pays
    found = []
    for _ in range(3):
        before, start = drafting.steps, time.perf_counter()
        done = llm.generate("the and on", max_tokens=40, **endless(llm))
        taken = time.perf_counter() - start, (drafting.steps - before) * drafting.step_s
        found.append((taken[0] / done.stats["steps"], taken[1] / done.stats["steps"]))
    return found


def test_a_round_takes_as_long_as_the_slower_of_draft_and_target(
    models: dict[str, Path], devices: dict[str, SlowDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps of the draft take as long as one of the target, and not one after the other."""
    devices[VERIFIES].step_s, devices[DRAFTS].step_s = 0.060, 0.015
    with drafted(models["target"], models["target"]) as llm:
        round_s, draft_s = min(rounds(llm, devices[DRAFTS]))
        assert round_s < 1.25 * 0.060
        assert 0.060 + draft_s > 1.7 * 0.060
    monkeypatch.setattr(loading, "overlaps", lambda *_: False)
    with drafted(models["target"], models["target"]) as llm:
        for round_s, draft_s in rounds(llm, devices[DRAFTS]):
            assert round_s > 0.95 * (0.060 + draft_s) > 1.25 * 0.060


def test_where_the_draft_is_the_slower_a_round_takes_as_long_as_it(
    models: dict[str, Path], devices: dict[str, SlowDevice]
) -> None:
    devices[VERIFIES].step_s, devices[DRAFTS].step_s = 0.040, 0.030
    with drafted(models["target"], models["target"]) as llm:
        found = rounds(llm, devices[DRAFTS])
    slower = [(round_s, draft_s) for round_s, draft_s in found if 0.040 < draft_s < 0.100]
    assert min(round_s / draft_s for round_s, draft_s in slower) < 1.25


class Breaks:
    """A device's steps from the `first` on fail, `count` of them."""

    def __init__(self, device: SlowDevice, first: int, count: int) -> None:
        self._device = device
        self._failing = range(device.steps + first, device.steps + first + count)
        device.before = self

    def __call__(self) -> None:
        if self._device.steps in self._failing:
            raise RuntimeError("the device has gone")


@pytest.mark.parametrize("first", [1, 2, 12])
def test_a_draft_s_device_that_fails(
    models: dict[str, Path], devices: dict[str, SlowDevice], first: int
) -> None:
    """Its request hears of it, whether the target waited or not; the next one is not hurt."""
    with drafted(models["target"], models["target"]) as llm:
        eager(llm)
        want = llm.generate("the and on", max_tokens=40, **endless(llm))
        Breaks(devices[DRAFTS], first, 1)
        with pytest.raises(EngineError, match="the device has gone"):
            llm.generate("we in the", max_tokens=100, **endless(llm))
        assert shown(llm.generate("the and on", max_tokens=40, **endless(llm))) == shown(want)
        Breaks(devices[DRAFTS], first, 1000)
        for prompt in ("we in the", "or " * 60):
            with pytest.raises(EngineError, match="the device has gone"):
                llm.generate(prompt, max_tokens=200, **endless(llm))


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_model_that_goes_in_the_middle_takes_its_draft_s_thread_along(
    models: dict[str, Path], devices: dict[str, SlowDevice], is_closed: bool
) -> None:
    """Closed, or just left behind."""
    devices[DRAFTS].step_s = devices[VERIFIES].step_s = 0.02
    options = Options(speculate="model", draft=str(models["target"]))
    llm = LLM.open(models["target"], options, backend=VERIFIES, draft_backend=DRAFTS)
    stream = llm.stream("the and on", **endless(llm))
    wait_until(lambda: bool(draft_threads()))
    start = time.perf_counter()
    if is_closed:
        llm.close()
        assert not draft_threads()
        assert stream.completion.finish_reason == "cancelled"
    else:
        del llm, stream
        gc.collect()
        wait_until(lambda: not draft_threads())
    assert time.perf_counter() - start < 1.0


def test_a_draft_rests_when_its_request_is_over(
    models: dict[str, Path], devices: dict[str, SlowDevice]
) -> None:
    devices[DRAFTS].step_s = 0.01
    with drafted(models["target"], models["target"]) as llm:
        eager(llm)
        llm.generate("the and on", max_tokens=20, **endless(llm))
        time.sleep(0.02)  # the step under way
        before = devices[DRAFTS].steps
        time.sleep(0.1)
        assert devices[DRAFTS].steps == before


def test_a_draft_reads_a_long_prompt_beside_the_target(
    models: dict[str, Path], devices: dict[str, SlowDevice]
) -> None:
    """The target goes on with plain steps until the draft has read it, and then with drafts."""
    prompt = [7 + i % 90 for i in range(200)]
    with drafted(models["target"], models["target"]) as llm:
        eager(llm)
        devices[DRAFTS].step_s = 0.03
        done = llm.generate(prompt, max_tokens=100, **endless(llm))
        assert done.stats["accepted_tokens"] > 50
        assert done.stats["steps"] - done.stats["verified_drafts"] > 8


def test_callers_beside_each_other(models: dict[str, Path], devices: dict[str, SlowDevice]) -> None:
    """The draft follows who is alone; who was left in the middle is not confused by it."""
    leave_time(devices)
    with drafted(models["target"], models["target"]) as llm:
        eager(llm)
        lengths = range(10, 10 * len(PROMPTS) + 10, 10)
        never = endless(llm)
        want = [
            llm.generate(prompt, max_tokens=length, **never)
            for prompt, length in zip(PROMPTS, lengths, strict=True)
        ]
        assert sum(each.stats["ready_guesses"] for each in want) > 20
        devices[VERIFIES].before = lambda: None
        with ThreadPoolExecutor(len(PROMPTS)) as callers:
            for _ in range(3):
                got = list(
                    callers.map(
                        lambda prompt, length: llm.generate(prompt, max_tokens=length, **never),
                        PROMPTS,
                        lengths,
                    )
                )
                assert list(map(shown, got)) == list(map(shown, want))


def test_what_comes_next_is_sought_where_the_target_may_stop() -> None:
    rates = AcceptanceRates()
    tree = DraftTree(tokens=(5, 6, 7), parents=(ROOT, 0, ROOT))
    ends = ends_of(1, tree, (0.8, 0.6, 0.1))
    assert [(end.path, set(end.refused)) for end in ends] == [
        ((1,), {5, 7}),
        ((1, 5), {6}),
        ((1, 5, 6), set()),
        ((1, 7), set()),
    ]
    assert [end.chance for end in ends] == pytest.approx([0.1, 0.2, 0.6, 0.1])
    guesses = [Guess(5, ("a", 0), 0.5), Guess(8, ("a", 1), 0.3), Guess(9, ("a", 2), 0.1)]
    assert dict(chances_of(guesses, frozenset(), rates)) == pytest.approx({5: 0.5, 8: 0.3, 9: 0.1})
    assert dict(chances_of(guesses, ends[0].refused, rates)) == pytest.approx({8: 0.6, 9: 0.2})
    sure = [guesses[0]._replace(prior=1.0), guesses[1]._replace(prior=0.0)]
    assert chances_of(sure, ends[0].refused, rates) == []
