"""The benchmark: what is counted, in which order, and what a report says."""

import itertools
import json
import sys

import pytest

from slipstream.apps.bench import curves, speed
from slipstream.apps.bench.ceilings import Ceilings
from slipstream.apps.bench.report import report, rows, summarise
from slipstream.apps.bench.slipstream_side import SlipstreamSide
from slipstream.apps.bench.speed import Spread, measure, random_prompts
from slipstream.apps.bench.workload import Workload
from slipstream.offload import bandwidth
from slipstream.offload.machine import probe
from slipstream.runtime.completion import Timings
from slipstream.runtime.errors import OptionError
from support.command_line import call
from support.tiny_gguf import write_tiny_model

WORKLOAD = Workload(prefill_tokens=40, decode_tokens=7, repeats=3, threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_model(path, architecture="qwen2")
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(speed, "REST_S", 0)
    monkeypatch.setattr(bandwidth, "time_reads", lambda *_, **__: 12.5)
    monkeypatch.setattr(bandwidth, "_save", lambda *_: None)


class FakeSide:
    """Answers at once, with given seconds for prefill."""

    def __init__(self, name, calls, prefill_s):
        self.name, self.version = name, "1"
        self._calls, self._prefill_s = calls, iter(prefill_s)

    def run(self, prompt, decode_tokens):
        self._calls.append((self.name, tuple(prompt)))
        return Timings(
            load_s=0.5,
            prefill_s=next(self._prefill_s),
            prefill_tokens=len(prompt),
            decode_s=2.0,
            decode_tokens=decode_tokens,
        )

    def close(self):
        pass


def test_sides_take_turns_on_the_same_prompts_and_the_first_run_warms_up():
    calls, heard = [], []
    sides = [FakeSide("a", calls, itertools.count(1)), FakeSide("b", calls, itertools.count(10))]
    prompts = [[1], [2], [3]]
    runs = measure(sides, prompts, WORKLOAD, lambda name, run: heard.append((name, run)))
    assert calls == [(name, (token,)) for token in (1, 2, 3) for name in "ab"]
    assert heard == [(name, run) for run in (0, 1, 2) for name in "ab"]
    assert [run.prefill_s for run in runs["a"]] == [2, 3]
    assert [run.prefill_s for run in runs["b"]] == [11, 12]


def test_medians_spreads_and_ratios(tmp_path):
    (tmp_path / "m.gguf").write_bytes(bytes(10))
    calls = []
    sides = [FakeSide("ours", calls, [9, 1, 2, 4]), FakeSide("other", calls, [9, 8, 8, 8])]
    runs = measure(sides, [[0] * 16] * 4, WORKLOAD)
    result = summarise("m", tmp_path / "m.gguf", sides, runs)
    ours = result.sides["ours"]
    assert ours.prefill_tok_per_s == Spread(median=8, lowest=4, highest=16)
    assert ours.first_token_s == Spread(median=2, lowest=1, highest=4)
    assert ours.decode_tok_per_s.median == 3.5
    assert ours.load_s == 0.5
    assert result.ratios == {"prefill_tok_per_s": 4.0, "decode_tok_per_s": 1.0}
    table = rows(result)
    assert table[1][:2] == ("ours", "8.0 (4.0 to 16.0)")
    assert table[-1][:3] == ("ratio", "4.00", "1.00")
    alone = summarise("m", tmp_path / "m.gguf", sides[:1], runs)
    assert alone.ratios == {}
    assert len(rows(alone)) == 2


def test_a_report_says_what_is_needed_to_repeat_it(tmp_path):
    (tmp_path / "m.gguf").write_bytes(bytes(10))
    sides = [FakeSide("ours", [], itertools.count(1))]
    result = summarise("m", tmp_path / "m.gguf", sides, measure(sides, [[0]] * 3, WORKLOAD))
    ceilings = Ceilings(read_bytes_per_s=4e10, dot_multiply_adds_per_s=8e11)
    made = report(
        [result], WORKLOAD, probe(), ceilings, command="slipstream bench m", measured_at="now"
    )
    made = json.loads(json.dumps(made))
    assert made["command"] == "slipstream bench m"
    assert made["machine"]["cpu_name"]
    assert {"python", "numba", "numpy", "system"} <= made["versions"].keys()
    assert made["ceilings"]["dot_multiply_adds_per_s"] == 8e11
    assert made["workload"] == {
        "prefill_tokens": 40,
        "decode_tokens": 7,
        "repeats": 3,
        "threads": 1,
        "kv": "f16",
        "deepest": 0,
    }
    assert made["results"][0]["sides"]["ours"]["version"] == "1"


def test_our_side_computes_every_token_of_every_prompt(model):
    side = SlipstreamSide(model, WORKLOAD)
    try:
        prompts = random_prompts(side.llm.tokenizer, 40, 3)
        end = next(iter(side.llm.tokenizer.end_ids))
        for prompt in prompts:
            run = side.run(prompt, 7)
            assert (run.prefill_tokens, run.decode_tokens) == (40, 7)
            assert run.prefill_s > 0
            assert run.decode_s > 0
        assert all(token in range(side.llm.config.vocab_size) for each in prompts for token in each)
        assert end not in side.llm.generate(prompts[0], temperature=0, max_tokens=8).token_ids
    finally:
        side.close()


def test_our_side_goes_on_past_the_end_of_the_text(model, monkeypatch):
    side = SlipstreamSide(model, WORKLOAD)
    try:
        greedy = side.llm.generate([5, 6, 7], temperature=0, max_tokens=8).token_ids
        monkeypatch.setattr(side, "_never_end", {greedy[1]: -float("inf")})
        monkeypatch.setattr(side.llm.tokenizer, "end_ids", frozenset({greedy[1]}))
        assert side.run([5, 6, 7], 7).decode_tokens == 7
    finally:
        side.close()


def test_prompts_are_text_alike_for_a_seed_and_never_alike_in_a_row(model):
    side = SlipstreamSide(model, WORKLOAD)
    try:
        tokenizer = side.llm.tokenizer
        prompts = random_prompts(tokenizer, 30, 4)
        assert prompts == random_prompts(tokenizer, 30, 4)
        assert prompts != random_prompts(tokenizer, 30, 4, seed=1)
        assert len({tuple(each) for each in prompts}) == 4
        assert all(tokenizer.token_bytes(token) for each in prompts for token in each)
    finally:
        side.close()


SMALL = ("--prefill", 16, "--decode", 3, "--repeat", 2, "--threads", 1)


def test_the_command_prints_a_table_or_one_object(capsys, model):
    table = call(capsys, "bench", model, *SMALL)
    assert table.code == 0
    assert "prefill tok/s" in table.out
    assert "ratio" not in table.out
    made = json.loads(call(capsys, "bench", model, *SMALL, "--json").out)
    assert made["workload"]["prefill_tokens"] == 16
    assert made["machine"]["read_gb_per_s"] == 12.5
    (result,) = made["results"]
    assert result["sides"].keys() == {"slipstream"}
    assert result["sides"]["slipstream"]["decode_tok_per_s"]["median"] > 0


def test_a_workload_longer_than_the_context_is_refused(capsys, model):
    outcome = call(capsys, "bench", model, "--prefill", 600)
    assert outcome.code == 2
    assert "context must be between 1 and 512" in outcome.err


def test_more_threads_than_cores_are_refused_and_never_started(capsys, model, monkeypatch):
    asked = []
    monkeypatch.setattr(bandwidth, "time_reads", lambda threads, **_: asked.append(threads) or 1.0)
    monkeypatch.setattr(
        "slipstream.runtime.planning.planner.measured_read_bandwidth", lambda *_, **__: 1.0
    )
    outcome = call(capsys, "bench", model, "--threads", 99_999)
    assert outcome.code == 2
    assert "threads must be between 1 and" in outcome.err
    assert max(asked) <= probe().logical_cores


def test_without_llama_cpp_the_user_is_told_how_to_get_it(capsys, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    outcome = call(capsys, "bench", model, *SMALL, "--against", "llama.cpp")
    assert (outcome.code, outcome.out) == (2, "")
    assert "pip install 'slipstream[llamacpp]'" in outcome.err


@pytest.mark.llamacpp
def test_both_sides_in_one_run(capsys, model):
    pytest.importorskip("llama_cpp")
    outcome = call(capsys, "bench", model, *SMALL, "--against", "llama.cpp", "--json")
    assert outcome.code == 0
    (result,) = json.loads(outcome.out)["results"]
    assert list(result["sides"]) == ["slipstream", "llama.cpp"]
    assert result["sides"]["llama.cpp"]["version"].startswith("llama-cpp-python ")
    assert all(ratio > 0 for ratio in result["ratios"].values())


@pytest.mark.llamacpp
def test_both_sides_decode_the_same_tokens(model, monkeypatch):
    pytest.importorskip("llama_cpp")
    from slipstream.apps.bench.llama_cpp_side import LlamaCppSide

    workload = Workload(prefill_tokens=40, decode_tokens=7, repeats=1, threads=1)
    theirs, ours = LlamaCppSide(model, workload), SlipstreamSide(model, workload)
    try:
        prompt = random_prompts(ours.llm.tokenizer, 40, 1)[0]
        want = ours.llm.generate(prompt, temperature=0, max_tokens=8).token_ids
        chosen = []
        likeliest = theirs._likeliest
        monkeypatch.setattr(theirs, "_likeliest", lambda: chosen.append(likeliest()) or chosen[-1])
        for _ in range(2):  # the second time from an empty cache again
            chosen.clear()
            run = theirs.run(prompt, 7)
            assert tuple(chosen) == want
        assert (run.prefill_tokens, run.decode_tokens) == (40, 7)
    finally:
        theirs.close()
        ours.close()


@pytest.mark.llamacpp
def test_a_file_that_llama_cpp_refuses(tmp_path):
    pytest.importorskip("llama_cpp")
    from slipstream.apps.bench.llama_cpp_side import LlamaCppSide

    (tmp_path / "bad.gguf").write_bytes(b"GGUF nonsense")
    with pytest.raises(OptionError, match=r"llama\.cpp can't load"):
        LlamaCppSide(tmp_path / "bad.gguf", WORKLOAD)


def test_curves_are_taken_in_turns_and_the_first_turn_warms_up():
    class Side:
        def __init__(self, name):
            self.name = name

        def verify(self, context, new):
            assert len(context) == curves.VERIFY_CONTEXT
            return len(new) / 100

        def run(self, prompt, decode_tokens, *, reuse=False):
            return Timings(
                load_s=0.0,
                prefill_s=2.0,
                prefill_tokens=len(prompt),
                decode_s=4.0,
                decode_tokens=decode_tokens,
            )

    heard = []
    measured = curves.measure_curves(
        [Side("a"), Side("b")],
        lambda length: [0] * length,
        sizes=True,
        depths=(1000,),
        decode_tokens=8,
        repeats=2,
        announce=lambda side, what: heard.append((side, what)),
    )
    assert measured["a"].verify_s[8].median == 0.08
    assert measured["b"].prefill_tok_per_s[64].median == 32.0
    assert measured["b"].deep_decode_tok_per_s[1000].median == 2.0
    assert [side for side, _ in heard] == ["a", "b"] * 6
    table = curves.curve_rows("m", measured)
    assert table[0] == ("m", "a", "b")
    assert ("verify 8 ms", "80.0", "80.0") in table


def test_the_command_measures_curves_depths_and_cold_starts(capsys, model):
    arguments = ["bench", model, "--prefill", 40, "--decode", 4, "--repeat", 1, "--threads", 1]
    found = call(capsys, *arguments, "--kv", "q8_0", "--depth", 100, "--cold", "--json")
    assert found.code == 0, found.err
    (result,) = json.loads(found.out)["results"]
    assert result["curves"]["slipstream"]["deep_decode_tok_per_s"]["100"]["median"] > 0
    assert result["curves"]["slipstream"]["verify_s"] == {}
    assert result["cold_starts"]["slipstream"]["peak_bytes"] > 10_000_000
    assert 0 < result["shares"]["prefill_of_dot_peak"] < 1


def test_a_step_is_timed_with_the_logits_of_all_its_rows(model):
    side = SlipstreamSide(model, WORKLOAD)
    try:
        assert side.verify(list(range(20)), [5, 6, 7]) > 0
        assert side.verify(list(range(20)), [8]) > 0
    finally:
        side.close()
