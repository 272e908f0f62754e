"""The benchmark of speculation: who answers when, what is counted, and what a report says."""

import importlib.util
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from slipstream.apps.bench import speed
from slipstream.apps.bench.answer_figures import Figures
from slipstream.apps.bench.prompt_files import read_prompts
from slipstream.apps.bench.prompt_tokens import EncodedPrompts, encode_prompts
from slipstream.apps.bench.speculation import Answer, AnsweringSide, measure_answers
from slipstream.apps.bench.speculation_report import (
    SpeculationWorkload,
    speculation_report,
    speculation_rows,
    summarise,
)
from slipstream.apps.bench.speculation_sides import open_sides
from slipstream.apps.bench.workload import Workload
from slipstream.cpu_kernels import reference
from slipstream.offload import bandwidth
from slipstream.offload.machine import probe
from slipstream.runtime.speculation import SpeculationState, Speculator
from support.command_line import call, write_chat_model
from support.prompt_files import write_prompts

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def quick(monkeypatch, roomy):
    monkeypatch.setattr(speed, "REST_S", 0)
    monkeypatch.setattr(bandwidth, "time_reads", lambda *_, **__: 12.5)
    monkeypatch.setattr(bandwidth, "_save", lambda *_: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_chat_model(path)
    return path


@pytest.fixture
def prompts(tmp_path):
    return write_prompts(tmp_path / "prompts.jsonl")


def test_sides_take_turns_and_who_begins_rotates():
    calls, heard = [], []

    def side(name):
        def answer(prompt, max_tokens):
            calls.append((name, *prompt, max_tokens))
            return Answer(tokens=tuple(prompt), decode_tokens=1, decode_s=1.0)

        return AnsweringSide(name=name, version="1", answer=answer)

    asked = EncodedPrompts(
        warm_up=[0], tokens=[[1], [2], [3]], categories=["a"] * 3, end_ids=frozenset()
    )
    answers = measure_answers([side("x"), side("y"), side("z")], asked, 7, heard.append)
    assert heard == [0, 1, 2, 3]
    assert calls == [
        (name, prompt, 8)
        for prompt, order in enumerate(["xyz", "yzx", "zxy", "xyz"])
        for name in order
    ]
    assert [each.tokens for each in answers["z"]] == [(1,), (2,), (3,)]


def answer(tokens, seconds, *by_depth, drafted=0, verified=0):
    return Answer(
        tokens=tuple(tokens),
        decode_tokens=len(tokens),
        decode_s=seconds,
        drafted_tokens=drafted,
        accepted_tokens=sum(by_depth),
        verified_drafts=verified,
        accepted_by_depth=by_depth,
    )


PLAIN = [answer(range(10), 2.0), answer(range(30), 4.0), answer([7], 1.0), answer([], 0.0)]
DRAFTING = [
    answer(range(10), 1.0, 3, 2, drafted=12, verified=4),
    answer(range(30), 2.0, 6, drafted=20, verified=6),
    answer([8], 0.5),
    answer([], 0.0),
]
CATEGORIES = ["a", "a", "b", "c"]


@pytest.fixture
def result(tmp_path):
    (tmp_path / "m.gguf").write_bytes(bytes(10))
    answers = {
        "slipstream off": PLAIN,
        "slipstream auto": DRAFTING,
        "llama.cpp": [answer(each.tokens, 2 * each.decode_s) for each in PLAIN],
        "llama.cpp lookup": DRAFTING,
    }
    sides = [AnsweringSide(name=name, version="1", answer=answer) for name in answers]
    return summarise("m", tmp_path / "m.gguf", sides, answers, CATEGORIES)


def test_figures_are_sums_over_answers():
    figures = Figures.of(DRAFTING[:3], PLAIN[:3])
    assert (figures.prompts, figures.decode_tokens, figures.decode_s) == (3, 41, 3.5)
    assert (figures.drafted_tokens, figures.accepted_tokens) == (32, 11)
    assert figures.steps == 30
    assert figures.tokens_per_step == 41 / 30
    assert figures.accepted_by_depth == (9, 2)
    assert figures.acceptance_by_depth == (0.9, 0.2)
    assert figures.equal_answers == 2
    nothing = Figures.of(DRAFTING[3:], PLAIN[3:])
    assert (nothing.decode_tok_per_s, nothing.tokens_per_step) == (0.0, 0.0)
    assert nothing.acceptance_by_depth == ()


def test_ratios_of_categories_of_all_and_their_mean(result):
    report = made_report(result)
    (described,) = report["results"]
    a, b, c = described["categories"].values()
    assert a["slipstream auto"]["ratio_to_off"] == 2.0
    assert a["slipstream auto"]["ratio_to_llama_cpp"] == 4.0
    assert b["llama.cpp"]["ratio_to_off"] == 0.5
    assert c["slipstream auto"]["ratio_to_off"] is None  # nothing was decoded
    assert described["overall"]["slipstream auto"]["prompts"] == 4
    assert described["overall"]["slipstream auto"]["equal_answers"] == 3
    assert described["mean_of_categories"]["slipstream auto"] == {
        "ratio_to_off": 2.0,
        "ratio_to_llama_cpp": 4.0,
    }


def made_report(result):
    workload = SpeculationWorkload(
        files=("p.jsonl",),
        limit=None,
        decode_tokens=9,
        drafters=("auto",),
        draft=None,
        lookup_tokens=2,
        threads=2,
        kv="f16",
    )
    made = speculation_report(
        [result], workload, probe(), command="slipstream bench m", measured_at="2026-01-01"
    )
    return json.loads(json.dumps(made, allow_nan=False))


def test_a_report_says_what_is_needed_to_repeat_it(result):
    made = made_report(result)
    assert made["command"] == "slipstream bench m"
    assert made["machine"]["cpu_name"]
    assert {"python", "numba", "numpy", "system"} <= made["versions"].keys()
    assert made["workload"]["files"] == ["p.jsonl"]
    assert made["results"][0]["versions"]["llama.cpp"] == "1"
    assert made["results"][0]["file_bytes"] == 10


def test_a_table_has_categories_all_prompts_and_means(result):
    table = speculation_rows(result)
    assert len({len(row) for row in table}) == 1
    assert [row[0] for row in table if row[0]] == [
        "m",
        "a (2)",
        "b (1)",
        "c (1)",
        "all prompts (4)",
        "mean of categories",
    ]
    assert table[2] == (
        *("", "slipstream auto", "13.3", "1.38", "11 of 32", "90% 20%"),
        *("2.00", "4.00", "2 of 2"),
    )


def test_the_readmes_table_and_plot_are_made_from_a_report(monkeypatch, tmp_path, result):
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "speculation_a.json").write_text(json.dumps(made_report(result)))
    table = tables.speculation_table()
    assert (
        "| `m` | a | 2 | 6.7 | 13.3 | **2.00** | 1.38 | 3.3 | 13.3 | **4.00** | 2 of 2 |" in table
    )
    assert "| `m` | c | 1 | 0.0 | 0.0 | - | 0.00 | 0.0 | 0.0 | - | 1 of 1 |" in table
    assert "| *mean of categories* |  |  |  | **2.00** |" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert "`slipstream bench m`" in table
    plot = ElementTree.fromstring(tables.speculation_plot())
    shown = [each.text for each in plot.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a", "b", "c", "m, slipstream auto", "m, llama.cpp lookup", "2.00"} <= set(shown)


def test_a_speculator_counts_how_deep_drafts_were_accepted():
    speculator = Speculator([], SpeculationState(reference))
    for path in ([], [0, 2, 5], [1], [0, 1]):
        speculator.observe(path, range(len(path) + 1))
    assert speculator.stats()["accepted_by_depth"] == (3, 2, 1)
    assert speculator.stats()["accepted_tokens"] == 6


SMALL = ("--decode", 24, "--threads", 1)


def test_the_command_reports_every_side(capsys, model, prompts):
    drafters = ("--drafters", "auto", "--drafters", "ngram", "--drafters", "auto")
    found = call(capsys, "bench", model, "--speculate", prompts, *SMALL, *drafters, "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert report["workload"]["drafters"] == ["auto", "ngram"]
    (result,) = report["results"]
    assert list(result["categories"]) == ["humaneval", "writing", "qa"]
    assert list(result["overall"]) == ["slipstream off", "slipstream auto", "slipstream ngram"]
    for side in result["overall"].values():
        assert side["equal_answers"] == side["prompts"] == 4
        assert sum(side["accepted_by_depth"]) == side["accepted_tokens"]
        assert all(0 < share <= 1 for share in side["acceptance_by_depth"])
        assert side["verified_drafts"] <= side["steps"] <= side["decode_tokens"] <= 4 * 24
        assert side["drafted_tokens"] >= side["verified_drafts"]
    off = result["overall"]["slipstream off"]
    assert off["drafted_tokens"] == 0
    assert off["tokens_per_step"] == off["ratio_to_off"] == 1


def test_a_draft_model_serves_the_drafters_that_have_a_use_for_it(capsys, model, prompts):
    arguments = ("--drafters", "model", "--drafters", "ngram", "--draft", model, "--limit", 1)
    found = call(capsys, "bench", model, "--speculate", prompts, *SMALL, *arguments, "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert report["workload"]["draft"] == str(model)
    sides = report["results"][0]["overall"]
    assert list(sides) == ["slipstream off", "slipstream model", "slipstream ngram"]
    assert all(side["equal_answers"] == side["prompts"] == 3 for side in sides.values())


def test_the_command_prints_a_table(capsys, model, prompts):
    found = call(capsys, "bench", model, "--speculate", prompts, *SMALL, "--limit", 1)
    assert found.code == 0, found.err
    assert "writing (1)" in found.out
    assert "x slipstream off" in found.out
    assert "x llama.cpp" not in found.out
    assert "mean of categories" in found.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--limit", 3), "--limit needs --speculate FILE"),
        (("--lookup", 3), "--lookup needs --speculate FILE"),
        (("--speculate", "P", "--lookup", 3), "--lookup needs --against llama.cpp"),
        (("--draft", "m"), "--draft needs --speculate FILE"),
        (("--speculate", "P", "--drafters", "model"), "needs a model"),
        (("--speculate", "P", "--drafters", "ngram", "--draft", "m"), "m would not be used"),
        (("--drafters", "ngram"), "--drafters needs --speculate FILE"),
        (("--speculate", "P", "--prefill", 64), "--prefill has no effect with --speculate"),
        (("--speculate", "P", "--depth", 64), "--depth has no effect with --speculate"),
        (("--speculate", "P", "--cold"), "--cold has no effect with --speculate"),
        (("--speculate", "P", "--drafters", "off"), "'off' names none"),
        (("--speculate", "P", "--drafters", "psychic"), "got 'psychic'"),
        (("--speculate", "P", "--decode", 500), "line 1 has"),
        (("--speculate", "missing.jsonl"), "missing.jsonl can't be read"),
    ],
)
def test_options_that_do_not_fit_are_refused(capsys, model, prompts, arguments, problem):
    arguments = [prompts if each == "P" else each for each in arguments]
    found = call(capsys, "bench", model, *arguments)
    assert (found.code, found.out) == (2, "")
    assert problem in found.err
    assert found.err.count("\n") == 1


def test_without_llama_cpp_the_user_is_told_how_to_get_it(capsys, model, prompts, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    found = call(capsys, "bench", model, "--speculate", prompts, "--against", "llama.cpp")
    assert (found.code, found.out) == (2, "")
    assert "pip install 'slipstream[llamacpp]'" in found.err


@pytest.mark.llamacpp
def test_llama_cpp_answers_alike_with_and_without_its_drafts(model, prompts):
    pytest.importorskip("llama_cpp")
    asked = encode_prompts(model, read_prompts([prompts]), 60)
    room = Workload(prefill_tokens=asked.longest, decode_tokens=60, threads=1)
    itself = str(model)
    with open_sides(model, room, ["ngram"], asked.end_ids, draft=itself, lookup_tokens=2) as sides:
        assert [side.name for side in sides] == [
            "slipstream off",
            "slipstream ngram",
            "llama.cpp",
            "llama.cpp lookup",
            "llama.cpp draft",
        ]
        answers = measure_answers(sides, asked, 60)
    for ours, drafting, theirs, looking, led in zip(*answers.values(), strict=True):
        assert ours.tokens == drafting.tokens == theirs.tokens == looking.tokens == led.tokens
        assert led.accepted_tokens == sum(led.accepted_by_depth) == led.drafted_tokens
        assert ours.decode_tokens == theirs.decode_tokens == looking.decode_tokens
        assert theirs.drafted_tokens == theirs.accepted_tokens == 0
        assert looking.accepted_tokens == sum(looking.accepted_by_depth)
        assert looking.accepted_tokens <= looking.drafted_tokens <= 2 * looking.verified_drafts
    for side in ("llama.cpp lookup", "llama.cpp draft"):
        assert sum(each.accepted_tokens for each in answers[side]) > 0


@pytest.mark.llamacpp
def test_llama_cpp_stops_where_an_answer_ends(model, prompts):
    pytest.importorskip("llama_cpp")
    asked = encode_prompts(model, read_prompts([prompts]), 60)
    room = Workload(prefill_tokens=asked.longest, decode_tokens=60, threads=1)
    with open_sides(model, room, [], frozenset(), lookup_tokens=2) as sides:
        whole = sides[-1].answer(asked.tokens[0], 40)
    end = whole.tokens[20]
    length = whole.tokens.index(end)
    with open_sides(model, room, [], frozenset({end}), lookup_tokens=2) as sides:
        for side in sides[-2:]:
            short = side.answer(asked.tokens[0], 40)
            assert short.tokens == whole.tokens[:length]
            assert short.decode_tokens == length
