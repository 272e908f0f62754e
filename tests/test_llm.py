"""`LLM` on tiny random models: what it answers, and what it refuses."""

import gc
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.completion import Completion
from slipstream.runtime.errors import (
    CatalogueError,
    ChatTemplateError,
    CheckpointError,
    EngineError,
    OptionError,
    PromptError,
)
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options
from support.roomy_machine import ROOMY, roomy_machine
from support.time_limit import time_limit
from support.tiny_gguf import tiny_shape, write_tiny_model
from support.tiny_vocabulary import CHATML_TEMPLATE

CONTEXT = 512


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    with time_limit(120):
        yield


@pytest.fixture(scope="module", autouse=True)
def _room() -> Iterator[None]:
    with roomy_machine():
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_model(
        path, architecture="qwen2", quant_type=QuantType.Q4_K, chat_template=CHATML_TEMPLATE
    )
    return path


@pytest.fixture(scope="module")
def llm(path: Path) -> Iterator[LLM]:
    with LLM(path) as llm:
        yield llm


def greedy(llm: LLM, tokens: list[int], count: int) -> list[int]:
    """What a greedy generation must give, by the logits of ever longer texts."""
    tokens = list(tokens)
    for _ in range(count):
        token = int(llm.logits(tokens)[-1].argmax())
        if token in llm.tokenizer.end_ids:
            break
        tokens.append(token)
    return tokens[-count:]


def long(llm: LLM) -> dict[str, Any]:
    """Options of an answer that does not end before a test has done something to it."""
    return {"temperature": 0, "logit_bias": dict.fromkeys(llm.tokenizer.end_ids, -np.inf)}


# The interface ---------------------------------------------------------------------------


def test_the_signature_is_the_documented_one() -> None:
    parameters = list(inspect.signature(LLM).parameters.values())
    assert parameters[0].name == "model"
    assert parameters[0].default is inspect.Parameter.empty
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in parameters[1:])
    assert {each.name: each.default for each in parameters[1:]} == {
        "draft": None,
        "threads": None,
        "vram_bytes": None,
        "context": None,
        "kv": "auto",
        "speculate": "auto",
        "seed": None,
    }


def test_what_an_llm_says_of_itself(llm: LLM, path: Path) -> None:
    assert llm.config.architecture == "qwen2"
    assert llm.config.context_length == llm.plan.context == CONTEXT
    assert llm.path == path
    assert llm.load_s > 0
    assert llm.chat_template is not None
    assert any("threads" in line for line in llm.plan.lines())


def test_progress_is_told_while_loading(path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    llm = LLM.open(path, Options(), progress=lambda *what: told.append(what))
    llm.close()
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert [stage.split()[0] for stage in stages] == ["compiling", "loading"]
    for stage in stages:
        done = [(done, total) for name, done, total in told if name == stage]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]


def test_both_backends_give_the_same_text(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, architecture="llama")
    answers = []
    for backend in ("reference", "numba"):
        with LLM.open(path, Options(), backend=backend) as llm:
            assert llm.plan.backend == backend
            answers.append(llm.generate("the and", max_tokens=12, temperature=0).token_ids)
    assert answers[0] == answers[1]


# Text ------------------------------------------------------------------------------------


def test_greedy_is_the_largest_logit_each_time(llm: LLM) -> None:
    prompt = llm.tokenize("the and on we")
    done = llm.generate("the and on we", max_tokens=20, temperature=0)
    assert list(done.token_ids) == greedy(llm, prompt, 20)
    assert done.text == llm.detokenize(done.token_ids)
    assert done.finish_reason == "length"
    assert done.stats["prompt_tokens"] == len(prompt)
    assert done.timings.load_s == llm.load_s
    assert done.timings.decode_tokens == 19
    assert done.timings.decode_tok_per_s > 0


def test_pieces_are_the_text_and_its_tokens(llm: LLM) -> None:
    stream = llm.stream("in the", max_tokens=40, seed=1, temperature=1.5, logprobs=3)
    pieces = list(stream)
    done = stream.completion
    assert "".join(piece.text for piece in pieces) == done.text
    tokens = [token for piece in pieces for token in piece.token_ids]
    assert tokens == list(done.token_ids)[: len(tokens)]
    assert all(piece.text for piece in pieces)
    assert [each.token_id for each in done.logprobs] == list(done.token_ids)


def test_token_ids_are_a_prompt_too(llm: LLM) -> None:
    ids = llm.tokenize("the and")
    want = llm.generate("the and", max_tokens=5, temperature=0)
    for prompt in (ids, tuple(ids), np.array(ids)):
        assert llm.generate(prompt, max_tokens=5, temperature=0).token_ids == want.token_ids


def test_seeds(llm: LLM, path: Path) -> None:
    def say(model: LLM, **sampling: Any) -> Completion:
        return model.generate("the", max_tokens=24, temperature=1.5, top_k=0, **sampling)

    first = say(llm, seed=7)
    assert say(llm, seed=7).token_ids == first.token_ids
    assert first.stats["seed"] == 7
    assert say(llm, seed=8).token_ids != first.token_ids
    drawn = say(llm)
    assert say(llm).token_ids != drawn.token_ids
    assert say(llm, seed=drawn.stats["seed"]).token_ids == drawn.token_ids
    with LLM(path, seed=7) as seeded:
        assert say(seeded).token_ids == first.token_ids
        assert say(seeded).token_ids == first.token_ids
        assert say(seeded, seed=8).token_ids == say(llm, seed=8).token_ids
    with LLM(path, seed=0) as seeded:
        assert say(seeded).stats["seed"] == 0


def test_logprobs_are_those_of_the_logits(llm: LLM) -> None:
    prompt = llm.tokenize("on the and")
    done = llm.generate(prompt, max_tokens=6, seed=3, temperature=1.2, logprobs=4)
    rows = llm.logits([*prompt, *done.token_ids])[len(prompt) - 1 : -1].astype(np.float64)
    want = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    for row, token, each in zip(want, done.token_ids, done.logprobs, strict=True):
        assert each.token_id == token
        assert each.logprob == pytest.approx(row[token], abs=1e-5)
        assert list(each.top_ids) == np.argsort(-row, kind="stable")[:4].tolist()
        assert list(each.top_logprobs) == pytest.approx(np.sort(row)[::-1][:4], abs=1e-5)


def test_stops(llm: LLM) -> None:
    free = llm.generate("the", max_tokens=30, temperature=0)
    token = free.token_ids[10]
    first = free.token_ids.index(token)
    done = llm.generate("the", max_tokens=30, temperature=0, stop=token)
    assert done.token_ids == free.token_ids[:first]
    assert done.finish_reason == "stop"
    word = free.text[5:9]
    done = llm.generate("the", max_tokens=30, temperature=0, stop=[word])
    assert done.text == free.text[: free.text.index(word)]
    assert done.finish_reason == "stop"


def test_a_forced_end_ends_at_once(llm: LLM) -> None:
    end = next(iter(llm.tokenizer.end_ids))
    done = llm.generate("the", logit_bias={end: 1000.0})
    assert (done.text, done.token_ids, done.finish_reason) == ("", (), "stop")


@pytest.mark.parametrize("length", [CONTEXT - 1, CONTEXT - 2, CONTEXT - 30, 300])
def test_a_text_ends_at_the_end_of_the_context(llm: LLM, length: int) -> None:
    done = llm.generate([5] * length, **long(llm))
    assert done.finish_reason == "length"
    assert len(done.token_ids) == CONTEXT - length


def test_max_tokens(llm: LLM) -> None:
    for count in (1, 2, 9):
        done = llm.generate("the", max_tokens=count, temperature=0)
        assert len(done.token_ids) == count
        assert done.finish_reason == "length"


# What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("", "empty"),
        ([], "empty"),
        ([5] * CONTEXT, f"{CONTEXT} tokens, but at most {CONTEXT - 1}"),
        ("a " * CONTEXT, "shorten it"),
        ([1, -1], "token id -1"),
        ([1, 10_000], "token id 10000"),
        ([1.5], "whole numbers"),
        (["1"], "whole numbers"),
        ([[1, 2]], "whole numbers"),
        (None, "token ids"),
        (5, "token ids"),
        (np.array([[1, 2]]), "whole numbers"),
    ],
)
def test_bad_prompts(llm: LLM, prompt: Any, problem: str) -> None:
    with pytest.raises(PromptError, match=problem):
        llm.generate(prompt)


def test_bad_ids_for_logits(llm: LLM) -> None:
    for ids, problem in (([], "empty"), ([9999], "9999"), ("the", "whole numbers"), (None, "ids")):
        with pytest.raises(PromptError, match=problem):
            llm.logits(ids)
    with pytest.raises(PromptError, match=f"at most {CONTEXT}"):
        llm.logits([1] * (CONTEXT + 1))
    assert llm.logits([1] * CONTEXT).shape == (CONTEXT, llm.config.vocab_size)


def test_bad_ids_for_text(llm: LLM) -> None:
    for wrong in (-1, llm.config.vocab_size):
        with pytest.raises(OptionError, match="token id"):
            llm.detokenize([wrong])


@pytest.mark.parametrize(
    ("sampling", "problem"),
    [
        ({"temprature": 1.0}, "did you mean temperature"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_p": 2.0}, "top_p"),
        ({"stop": ""}, "stop"),
        ({"stop": 10_000}, "stop names token 10000"),
        ({"logit_bias": {10_000: 1.0}}, "logit_bias names token 10000"),
        ({"logprobs": 100}, "logprobs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_sampling_options(llm: LLM, sampling: dict[str, Any], problem: str) -> None:
    for call in (llm.generate, llm.stream):
        with pytest.raises(OptionError, match=problem):
            call("the", **sampling)
    with pytest.raises(OptionError, match=problem):
        llm.chat([{"role": "user", "content": "the"}], **sampling)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"threads": 100_000}, "threads"),
        ({"context": 0}, "context"),
        ({"context": "512"}, "context"),
        ({"context": CONTEXT + 1}, "512"),
        ({"kv": "q3"}, "kv"),
        ({"speculate": "always"}, "speculate"),
        ({"speculate": True}, "speculate"),
        ({"draft": "smollm2-135m"}, "draft"),
        ({"vram_bytes": 1 << 30}, "vram_bytes"),
        ({"vram_bytes": -1}, "vram_bytes"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_bad_options(path: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        LLM(path, **options)


def test_unknown_options_and_backends(path: Path) -> None:
    with pytest.raises(TypeError, match="n_ctx"):
        LLM(path, n_ctx=5)
    with pytest.raises(OptionError, match="expected one of auto"):
        LLM.open(path, Options(), backend="cuda")


def test_options_are_checked_before_the_model_is_looked_for() -> None:
    with pytest.raises(OptionError, match="kv"):
        LLM("no-such-model", kv="q3")
    with pytest.raises(CatalogueError, match="no-such-model"):
        LLM("no-such-model")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "notes.gguf"
    file.write_bytes(b"not a model" * 10)
    with pytest.raises(CheckpointError, match=r"notes\.gguf"):
        LLM(file)


# Callers beside each other ---------------------------------------------------------------

PROMPTS = ["the", "the and on", "in we", "and " * 60, "日本 the", "or " * 33]
SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"seed": 1, "temperature": 1.5},
    {"seed": 2, "top_k": 0, "repeat_penalty": 1.3},
]


def test_together_as_alone(llm: LLM) -> None:
    """Eighteen callers at once get, to the last bit, what each gets by itself."""
    requests = [(prompt, sampling) for prompt in PROMPTS for sampling in SAMPLINGS]

    def say(request: tuple[str, dict[str, Any]]) -> Completion:
        return llm.generate(request[0], max_tokens=30, logprobs=1, **request[1])

    alone = [say(request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as callers:
        for _ in range(2):
            together = list(callers.map(say, requests))
            for one, other in zip(alone, together, strict=True):
                assert one.token_ids == other.token_ids
                assert one.logprobs == other.logprobs
                assert one.text == other.text


def test_a_reused_beginning_changes_nothing(llm: LLM, path: Path) -> None:
    prompt = "the and on we in the or " * 6
    with LLM(path) as fresh:
        want = fresh.generate(prompt, max_tokens=20, temperature=0, logprobs=2)
    assert want.stats["reused_tokens"] == 0
    llm.generate(prompt[:60], max_tokens=30, seed=1)
    llm.generate(prompt, max_tokens=3, seed=2)
    got = llm.generate(prompt, max_tokens=20, temperature=0, logprobs=2)
    assert got.stats["reused_tokens"] == got.stats["prompt_tokens"] - 1
    assert got.token_ids == want.token_ids
    assert got.logprobs == want.logprobs


def test_logits_beside_generations(llm: LLM) -> None:
    ids = llm.tokenize("the and on we in " * 12)
    want = llm.logits(ids)
    assert want.dtype == np.float32
    stop = threading.Event()

    def chatter(seed: int) -> None:
        while not stop.is_set():
            llm.generate("in the", max_tokens=15, seed=seed)

    with ThreadPoolExecutor(3) as callers:
        talking = [callers.submit(chatter, seed) for seed in range(3)]
        try:
            for _ in range(5):
                np.testing.assert_array_equal(llm.logits(ids), want)
        finally:
            stop.set()
        for each in talking:
            each.result()


def test_more_callers_than_the_cache_has_room_for(path: Path) -> None:
    """A context that is no multiple of a page: pages, not tokens, are what runs out."""
    with LLM(path, context=100) as llm:

        def say(first: int) -> Completion:
            return llm.generate([first] * 70, **long(llm))

        alone = [say(first) for first in range(20)]
        with ThreadPoolExecutor(20) as callers:
            together = list(callers.map(say, range(20)))
    for one, other in zip(alone, together, strict=True):
        assert len(other.token_ids) == 30
        assert one.token_ids == other.token_ids


def test_several_models_in_one_process(llm: LLM, tmp_path: Path) -> None:
    path = tmp_path / "gemma.gguf"
    write_tiny_model(path, architecture="gemma3", quant_type=QuantType.Q8_0)
    with LLM(path, threads=1) as gemma:

        def say(model: LLM) -> tuple[int, ...]:
            return model.generate("the and", max_tokens=25, temperature=0).token_ids

        alone = {model: say(model) for model in (llm, gemma)}
        with ThreadPoolExecutor(6) as callers:
            models = [llm, gemma] * 6
            for model, got in zip(models, callers.map(say, models), strict=True):
                assert got == alone[model]


# Chat ------------------------------------------------------------------------------------


def test_chat_is_the_template_then_text(llm: LLM) -> None:
    messages = [{"role": "user", "content": "the and"}]
    text = "<|im_start|>user\nthe and<|im_end|>\n<|im_start|>assistant\n"
    assert llm.chat_tokens(messages) == llm.tokenize(text, add_special=False, parse_special=True)
    want = llm.generate(text, max_tokens=8, temperature=0)
    assert llm.chat(messages, max_tokens=8, temperature=0).token_ids == want.token_ids
    stream = llm.chat_stream(messages, max_tokens=8, temperature=0)
    assert "".join(piece.text for piece in stream) == want.text


def test_a_model_without_a_template_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plain.gguf"
    write_tiny_model(path, architecture="llama", shape=tiny_shape("llama", num_layers=1))
    with LLM(path) as llm:
        assert llm.chat_template is None
        with pytest.raises(ChatTemplateError, match="no chat template"):
            llm.chat([{"role": "user", "content": "hi"}])
        assert llm.generate("the", max_tokens=2).token_ids


@pytest.mark.parametrize("messages", [[], "hello", [{"content": "x"}], [{"role": "user"}], None])
def test_bad_messages(llm: LLM, messages: Any) -> None:
    with pytest.raises(ChatTemplateError, match="message"):
        llm.chat(messages)


def test_a_prompt_begins_with_one_beginning_token(tmp_path: Path) -> None:
    """Whether or not the template writes it."""
    path = tmp_path / "gemma.gguf"
    for template in ("{{ bos_token }}{{ messages[0].content }}", "{{ messages[0].content }}"):
        write_tiny_model(path, architecture="gemma3", chat_template=template)
        with LLM(path) as llm:
            tokens = llm.chat_tokens([{"role": "user", "content": "the and"}])
            bos = llm.tokenizer.bos_id
            assert tokens[0] == bos
            assert tokens.count(bos) == 1
            assert tokens == llm.tokenize("the and")
        path.unlink()


# Sessions --------------------------------------------------------------------------------

SHORT: dict[str, Any] = {"max_tokens": 6, "temperature": 0}


def test_a_session_remembers(llm: LLM) -> None:
    session = llm.session("we")
    first = session.send("the and", **SHORT).completion
    want = [
        {"role": "system", "content": "we"},
        {"role": "user", "content": "the and"},
        {"role": "assistant", "content": first.text},
    ]
    assert session.messages == want
    second = session.send("on", **SHORT)
    assert "".join(piece.text for piece in second) == second.completion.text
    assert second.completion.stats["reused_tokens"] > 10  # the first turn is not computed again
    assert second.completion.text == llm.chat([*want, session.messages[3]], **SHORT).text
    assert [each["role"] for each in session.messages[3:]] == ["user", "assistant"]
    assert session.undo()
    assert session.messages == want
    assert session.undo()
    assert session.messages == want[:1]
    assert not session.undo()
    session.send("the", **SHORT).completion  # noqa: B018
    session.reset()
    assert session.messages == want[:1]


def test_an_answer_cut_short_is_remembered_as_far_as_it_got(llm: LLM) -> None:
    session = llm.session()
    reply = session.send("the", **long(llm))
    first = next(reply)
    reply.cancel()
    done = reply.completion
    assert done.finish_reason == "cancelled"
    assert done.text.startswith(first.text)
    assert session.messages[-1] == {"role": "assistant", "content": done.text}


def test_an_answer_left_early_is_remembered_before_the_next_question(llm: LLM) -> None:
    session = llm.session()
    piece = next(session.send("the", **long(llm)))
    session.send("and", **SHORT).completion  # noqa: B018
    assert [each["role"] for each in session.messages] == ["user", "assistant"] * 2
    assert session.messages[1]["content"].startswith(piece.text)


def test_an_unread_reply_does_not_answer_a_later_question(llm: LLM) -> None:
    session = llm.session()
    old = session.send("the", **long(llm))
    next(old)
    session.undo()
    new = session.send("and", **SHORT)
    list(old)
    assert old.completion.finish_reason == "cancelled"
    assert session.messages == [{"role": "user", "content": "and"}]
    text = new.completion.text
    assert session.messages[1:] == [{"role": "assistant", "content": text}]


def test_a_refused_question_is_not_among_the_messages(llm: LLM) -> None:
    session = llm.session("we")
    before = list(session.messages)
    for text, options, error in (
        ("the " * 600, {}, PromptError),
        ("the", {"top_q": 1}, OptionError),
    ):
        with pytest.raises(error):
            session.send(text, **options)
        assert session.messages == before


def test_a_question_whose_answer_failed_is_taken_back(llm: LLM) -> None:
    session = llm.session()
    banned = dict.fromkeys(range(llm.config.vocab_size), -np.inf)
    reply = session.send("the", logit_bias=banned)
    with pytest.raises(OptionError, match="ban fewer"):
        list(reply)
    assert session.messages == []
    session.send("the", logit_bias=banned)
    session.send("and", **SHORT).completion  # noqa: B018
    assert [each["content"] for each in session.messages][:1] == ["and"]


# Closing ---------------------------------------------------------------------------------


def test_closed_while_running(path: Path) -> None:
    llm = LLM(path)
    streams = [llm.stream([first], **long(llm)) for first in range(3)]
    next(streams[0])
    llm.close()
    for stream in streams:
        assert stream.completion.finish_reason == "cancelled"
    for call in (llm.generate, llm.logits):
        with pytest.raises(EngineError, match="closed"):
            call([1])
    llm.close()
    assert llm.plan.context == CONTEXT  # what it says of itself stays


FORKING = """
import os, sys
from slipstream import LLM
from slipstream.runtime.errors import EngineError
llm = LLM(sys.argv[1])
llm.generate("the", max_tokens=2)
if os.fork() == 0:
    try:
        llm.generate("the", max_tokens=2)
    except EngineError as error:
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.wait()[1]), llm.generate("the", max_tokens=2).finish_reason)
"""


def test_a_forked_process_is_told_to_load_its_own(path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ROOMY + FORKING, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["0", "length"], done.stderr


def engine_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "slipstream-engine"}


def test_a_forgotten_llm_ends_its_thread(path: Path) -> None:
    before = engine_threads()
    llm = LLM(path)
    (thread,) = engine_threads() - before
    del llm
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_a_stream_keeps_its_llm(path: Path) -> None:
    before = engine_threads()
    stream = LLM(path).stream("the", max_tokens=20, temperature=0)
    gc.collect()
    assert stream.completion.finish_reason == "length"
    gc.collect()
    while engine_threads() - before:  # the time limit ends it
        time.sleep(0.01)
