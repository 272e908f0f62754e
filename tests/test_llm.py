"""`LLM` on a tiny random model: what it says of itself, and what it answers."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.runtime.completion import Completion
from slipstream.runtime.kv_cache import KVCache, pages_for
from slipstream.runtime.llm import LLM
from slipstream.runtime.models import model_cache
from slipstream.runtime.options import Options
from support.tiny_gguf import write_tiny_model
from support.tiny_llm import CONTEXT, endless

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")


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
        "acceptance": "match",
        "strict": False,
        "seed": None,
    }


def test_what_an_llm_says_of_itself(llm: LLM) -> None:
    assert llm.config.architecture == "qwen2"
    assert llm.config.context_length == llm.plan.context == CONTEXT
    assert llm.path.name == "tiny.gguf"
    assert llm.chat_template is not None
    assert any("threads" in line for line in llm.plan.lines())


def test_progress_is_told_while_loading(llm: LLM) -> None:
    told: list[tuple[str, int, int]] = []
    LLM.open(llm.path, Options(), progress=lambda *what: told.append(what)).close()
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


@pytest.mark.parametrize("context", [1, 63, 64, 65, 300])
def test_as_many_sequences_fit_as_the_plan_says(
    llm: LLM, monkeypatch: pytest.MonkeyPatch, context: int
) -> None:
    """Also where the context ends within a page."""
    caches: list[KVCache] = []

    def new_cache(**sizes: Any) -> KVCache:
        caches.append(KVCache(**sizes))
        return caches[-1]

    monkeypatch.setattr(model_cache, "KVCache", new_cache)
    with LLM(llm.path, context=context) as small:
        assert caches[0].num_pages == small.plan.num_sequences * pages_for(context)


def greedy(llm: LLM, tokens: list[int], count: int) -> list[int]:
    """What a greedy generation must give, by the logits of ever longer texts."""
    tokens = list(tokens)
    for _ in range(count):
        token = int(llm.logits(tokens)[-1].argmax())
        if token in llm.tokenizer.end_ids:
            break
        tokens.append(token)
    return tokens[-count:]


def test_greedy_is_the_largest_logit_each_time(llm: LLM) -> None:
    prompt = llm.tokenize("the and on we")
    done = llm.generate("the and on we", max_tokens=20, temperature=0)
    assert list(done.token_ids) == greedy(llm, prompt, 20)
    assert done.text == llm.detokenize(done.token_ids)
    assert done.finish_reason == "length"
    assert done.stats["prompt_tokens"] == len(prompt)
    assert done.timings.load_s > 0
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


def test_seeds(llm: LLM) -> None:
    def say(model: LLM, **sampling: Any) -> Completion:
        return model.generate("the", max_tokens=24, temperature=1.5, top_k=0, **sampling)

    first = say(llm, seed=7)
    assert say(llm, seed=7).token_ids == first.token_ids
    assert first.stats["seed"] == 7
    assert say(llm, seed=8).token_ids != first.token_ids
    drawn = say(llm)
    assert say(llm).token_ids != drawn.token_ids
    assert say(llm, seed=drawn.stats["seed"]).token_ids == drawn.token_ids
    with LLM(llm.path, seed=7) as seeded:
        assert say(seeded).token_ids == first.token_ids
        assert say(seeded).token_ids == first.token_ids
        assert say(seeded, seed=8).token_ids == say(llm, seed=8).token_ids
    with LLM(llm.path, seed=0) as seeded:
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
    done = llm.generate([5] * length, **endless(llm))
    assert done.finish_reason == "length"
    assert len(done.token_ids) == CONTEXT - length


def test_max_tokens(llm: LLM) -> None:
    for count in (1, 2, 9):
        done = llm.generate("the", max_tokens=count, temperature=0)
        assert len(done.token_ids) == count
        assert done.finish_reason == "length"
