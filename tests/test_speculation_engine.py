"""Whatever is drafted, an answer is the one without drafts: text, tokens, logprobs and its end."""

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.completion import Completion
from slipstream.runtime.engine.scheduler import PrefillPace
from slipstream.runtime.errors import OptionError
from slipstream.runtime.llm import LLM
from slipstream.runtime.sampling import Sampler, SamplingOptions, top_logprobs
from slipstream.runtime.speculation import Drafter, SpeculationState, Speculator
from slipstream.runtime.speculation.ngram_lookup import NgramLookup
from slipstream.runtime.speculation.token_recycling import TokenRecycling
from support.fixed_costs import FREE, draft_always, fix_costs
from support.scripted_drafters import Liar, Oracle, RandomDrafter
from support.scripted_model import ScriptedEngine
from support.tiny_gguf import write_tiny_model

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")

PROMPTS = ["the", "the and on the and on the", "in we", "or " * 33, "日本 the", "and " * 60]
SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0, "repeat_penalty": 1.3},
    {"temperature": 0.3, "seed": 1, "logprobs": 3},
    {"temperature": 1.5, "seed": 2, "top_k": 0},
    {"temperature": 0, "stop": [" ", "x"]},
]


def recycling_of(llm: LLM) -> TokenRecycling:
    """One for all requests, as the engine has it."""
    return TokenRecycling(llm.tokenizer.vocab_size)


# What makes a request's drafters, given what the requests share.
DRAFTERS: dict[str, Callable[[LLM, TokenRecycling], Sequence[Drafter]]] = {
    "n-gram": lambda _, shared: [NgramLookup()],
    "recycling": lambda _, shared: [shared],
    "both": lambda _, shared: [NgramLookup(), shared],
    "random": lambda llm, shared: [RandomDrafter(llm.tokenizer.vocab_size)],
}


def shown(completion: Completion) -> tuple[object, ...]:
    """All that a caller sees but times and counts."""
    return (
        completion.text,
        completion.token_ids,
        completion.finish_reason,
        completion.logprobs,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    """A tiny model that does not speculate."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_model(path, architecture="gemma3", quant_type=QuantType.Q4_K, vocabulary="bpe")
    with LLM(path, speculate="off") as llm:
        yield llm


@pytest.fixture(scope="module")
def draft_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model with the same vocabulary."""
    path = tmp_path_factory.mktemp("models") / "draft.gguf"
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q8_0, seed=5)
    return path


def always_drafting(drafters: Sequence[Drafter], llm: LLM) -> Speculator:
    """Drafts as much as it can."""
    state = SpeculationState(llm._loaded.speculation._state.ops)
    fix_costs(state.costs, FREE)
    return Speculator(drafters, state)


def with_drafters(llm: LLM, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Speculator]:
    """From now on the model's requests have these drafters; returns those that were made."""
    made: list[Speculator] = []
    shared = recycling_of(llm)

    def request(options: SamplingOptions, seed: int) -> tuple[Sampler, Speculator]:
        made.append(always_drafting(DRAFTERS[name](llm, shared), llm))
        return Sampler(options, seed=seed, vocab_size=llm.tokenizer.vocab_size), made[-1]

    monkeypatch.setattr(llm._loaded.speculation, "request", request)
    return made


@pytest.mark.parametrize("name", DRAFTERS)
def test_drafts_change_nothing(plain: LLM, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [(prompt, sampling) for prompt in PROMPTS for sampling in SAMPLINGS]
    want = [plain.generate(prompt, max_tokens=40, **sampling) for prompt, sampling in requests]
    made = with_drafters(plain, name, monkeypatch)
    got = [plain.generate(prompt, max_tokens=40, **sampling) for prompt, sampling in requests]
    for one, other in zip(want, got, strict=True):
        assert shown(one) == shown(other)
    assert sum(each.num_drafted for each in made) > 500
    if name in ("recycling", "both"):
        assert sum(each.num_accepted for each in made) > 100


@contextmanager
def drafted_by(path: Path, target: Path, acceptance: str = "match") -> Iterator[LLM]:
    """A model that always has the draft model's guesses verified."""
    with LLM(target, speculate="model", draft=str(path), acceptance=acceptance) as llm:
        draft_always(llm)
        yield llm


def test_a_draft_model_changes_nothing(plain: LLM, draft_path: Path) -> None:
    drafted = 0
    with drafted_by(draft_path, plain.path) as drafting:
        for prompt in PROMPTS:
            for sampling in SAMPLINGS:
                want = plain.generate(prompt, max_tokens=40, **sampling)
                got = drafting.generate(prompt, max_tokens=40, **sampling)
                assert shown(want) == shown(got)
                drafted += got.stats["drafted_tokens"]
    assert drafted > 200


def test_a_model_that_drafts_for_itself_is_always_right(plain: LLM) -> None:
    with drafted_by(plain.path, plain.path) as drafting:
        want = plain.generate("the and on", max_tokens=60, temperature=0)
        for _ in range(3):  # until it is known how good the draft is
            got = drafting.generate("the and on", max_tokens=60, temperature=0)
            assert shown(got) == shown(want)
        assert got.stats["steps"] < 20
        assert got.stats["accepted_by_drafter"] == {"model": got.stats["accepted_tokens"]}
        assert got.stats["draft_note"]


@pytest.mark.parametrize("acceptance", ["rejection", "spectr"])
def test_a_policy_changes_no_greedy_answer_and_what_is_said_of_sampled_ones_is_true(
    plain: LLM, draft_path: Path, acceptance: str
) -> None:
    with drafted_by(draft_path, plain.path, acceptance) as drafting:
        for prompt in PROMPTS:
            for sampling in SAMPLINGS:
                got = drafting.generate(prompt, max_tokens=40, **{"logprobs": 1, **sampling})
                if not sampling["temperature"]:
                    want = plain.generate(prompt, max_tokens=40, **{"logprobs": 1, **sampling})
                    assert shown(got) == shown(want)
                tokens = drafting.tokenize(prompt)
                logits = plain.logits([*tokens, *got.token_ids])[len(tokens) - 1 : -1]
                said = [each.logprob for each in got.logprobs]
                assert said == [
                    top_logprobs(row, token, 0).logprob
                    for row, token in zip(logits, got.token_ids, strict=True)
                ]


@pytest.mark.parametrize("acceptance", ["rejection", "spectr"])
def test_what_the_target_itself_draws_is_accepted(plain: LLM, acceptance: str) -> None:
    """And the penalties of what is drafted, which change it from node to node, are the same."""
    never = dict.fromkeys(plain.tokenizer.end_ids, -np.inf)
    with drafted_by(plain.path, plain.path, acceptance) as drafting:
        for seed in range(4):  # until it is known how good the draft is
            got = drafting.generate(
                "the and", max_tokens=60, seed=seed, presence_penalty=1.5, logit_bias=never
            )
        assert len(got.token_ids) == 60
        assert got.stats["steps"] < 20


def test_decoding_is_timed_from_the_first_token_of_a_known_prompt(plain: LLM) -> None:
    """Its last token alone is fed then, and a draft with it."""
    with LLM(plain.path, draft=str(plain.path)) as llm:
        runs = [llm.generate(PROMPTS[1], max_tokens=60, temperature=0).timings for _ in range(7)]
    again = runs[1:]
    assert all(took.prefill_tokens == 1 and took.prefill_s > 0 for took in again)
    # one step against many, but for where a pause of the machine fell into the one
    assert min(took.prefill_s / took.decode_s for took in again) < 1


def test_the_next_turn_finds_what_drafts_left_in_the_cache(
    plain: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted rows were moved to where plain decoding has them, rejected ones are gone."""
    first = "the and on we in the or "
    with LLM(plain.path, speculate="off") as fresh:
        answer = fresh.generate(first, max_tokens=50, temperature=0)
        tokens = [*fresh.tokenize(first), *answer.token_ids]
        want = fresh.logits(tokens)[-1]
    with_drafters(plain, "both", monkeypatch)
    for _ in range(2):  # with more to recycle the second time
        assert plain.generate(first, max_tokens=50, temperature=0).token_ids == answer.token_ids
    again = plain.generate(tokens, max_tokens=1, temperature=0, logprobs=1)
    assert again.stats["reused_tokens"] >= len(tokens) - 2
    assert again.token_ids == (int(np.argmax(want)),)
    shifted = want - want.max()
    exact = float(shifted.max() - np.log(np.exp(shifted.astype(np.float64)).sum()))
    assert again.logprobs[0].logprob == pytest.approx(exact, abs=1e-5)


def test_callers_beside_each_other(plain: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts are for who is alone; who meets others goes on without, and comes back."""
    want = [plain.generate(prompt, max_tokens=60, temperature=0) for prompt in PROMPTS]
    with_drafters(plain, "both", monkeypatch)
    with ThreadPoolExecutor(len(PROMPTS)) as callers:
        for _ in range(3):
            got = list(
                callers.map(
                    lambda prompt: plain.generate(prompt, max_tokens=60, temperature=0), PROMPTS
                )
            )
            assert list(map(shown, got)) == list(map(shown, want))


def test_an_answer_ends_where_the_context_ends(plain: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    never = dict.fromkeys(plain.tokenizer.end_ids, -np.inf)
    want = plain.generate("the", temperature=0, logit_bias=never)
    with_drafters(plain, "both", monkeypatch)
    got = plain.generate("the", temperature=0, logit_bias=never)
    assert shown(got) == shown(want)
    assert want.finish_reason == "length"


def test_an_oracle_is_accepted_in_full(eight: ScriptedEngine) -> None:
    state = SpeculationState(eight.backend.ops)
    fix_costs(state.costs, FREE)
    speculator = Speculator([Oracle(range(10, 400))], state)
    completion = eight.stream(list(range(10, 20)), speculator=speculator).completion
    assert completion.token_ids == tuple(range(20, 120))
    assert speculator.num_accepted == speculator.num_drafted > 60
    assert completion.stats["steps"] < 10
    reached = completion.stats["accepted_by_depth"]
    assert sum(reached) == speculator.num_accepted
    assert reached[0] == completion.stats["verified_drafts"]


def test_lies_are_not_believed(eight: ScriptedEngine) -> None:
    state = SpeculationState(eight.backend.ops)
    fix_costs(state.costs, FREE)
    speculator = Speculator([Liar(range(10, 400))], state)
    completion = eight.stream(list(range(10, 20)), speculator=speculator).completion
    assert completion.token_ids == tuple(range(20, 120))
    assert speculator.num_accepted == 0 < speculator.num_drafted
    assert completion.stats["accepted_by_depth"] == ()


def test_an_error_in_the_middle_of_a_draft(plain: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is its request's alone, and the next finds a cache that holds what it should."""
    prompt = "the and on we in the or "
    want = plain.generate(prompt, max_tokens=40, temperature=0)
    made = with_drafters(plain, "both", monkeypatch)
    plain.generate(prompt, max_tokens=40, temperature=0)  # something to recycle
    sample, calls = Sampler.sample, iter(range(1000))

    def failing(sampler: Sampler, logits: np.ndarray, history: Sequence[int]) -> int:
        if next(calls) == 20:
            raise OptionError("the 21st")
        return sample(sampler, logits, history)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "sample", failing)
        with pytest.raises(OptionError, match="the 21st"):
            plain.generate(prompt, max_tokens=40, temperature=0)
    assert made[-1].num_accepted > 5
    for _ in range(2):
        assert shown(plain.generate(prompt, max_tokens=40, temperature=0)) == shown(want)


def test_a_closed_model_lets_go_of_its_draft(plain: LLM, draft_path: Path) -> None:
    llm = LLM(plain.path, draft=str(draft_path))
    stream = llm.stream("the", max_tokens=5, temperature=0)
    assert stream.completion.token_ids
    draft = weakref.ref(llm._loaded.speculation._costly)
    assert draft() is not None
    llm.close()
    gc.collect()
    assert draft() is None
    assert stream.completion.token_ids  # which is kept


def test_drafts_do_not_pace_prompts(plain: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft's rows cost more than a prompt's: the logits of each are computed."""
    paced: list[int] = []
    monkeypatch.setattr(PrefillPace, "observe", lambda _, rows, seconds: paced.append(rows))
    with_drafters(plain, "random", monkeypatch)
    plain.generate("the and on", max_tokens=60, temperature=0)
    assert set(paced[1:]) <= {1}
