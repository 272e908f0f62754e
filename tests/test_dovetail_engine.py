"""Whatever a Dovetail draft guesses, an answer is the one without it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.completion import Completion
from slipstream.runtime.dovetail.dovetail_drafter import DovetailDrafter
from slipstream.runtime.llm import LLM
from support.exact_forward import exact_hidden
from support.fixed_costs import draft_always
from support.tiny_draft import relative_error, write_tiny_draft
from support.tiny_gguf import write_tiny_model

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")

PROMPTS = ["the", "the and on the and on the", "or " * 33, "日本 the", "and " * 60]
SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0.7, "seed": 1, "logprobs": 3},
    {"temperature": 1.5, "seed": 2, "top_k": 0},
]


def shown(completion: Completion) -> tuple[object, ...]:
    return (
        completion.text,
        completion.token_ids,
        completion.finish_reason,
        completion.logprobs,
    )


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LLM, LLM]]:
    """A tiny model without speculation, and with a random draft that is always asked."""
    folder = tmp_path_factory.mktemp("models")
    path, draft = folder / "tiny.gguf", folder / "draft.safetensors"
    write_tiny_model(path, architecture=request.param, quant_type=QuantType.Q4_K, vocabulary="bpe")
    write_tiny_draft(draft, path, blocks=2, window=24)
    with LLM(path, speculate="off") as plain, drafted_by(draft, path, "dovetail") as drafting:
        yield plain, drafting


def drafted_by(draft: Path, target: Path, speculate: str) -> LLM:
    llm = LLM(target, speculate=speculate, draft=str(draft))
    draft_always(llm)
    return llm


def test_a_random_draft_changes_nothing(models: tuple[LLM, LLM]) -> None:
    plain, drafting = models
    drafted = 0
    for prompt in PROMPTS:
        for sampling in SAMPLINGS:
            want = plain.generate(prompt, max_tokens=40, **sampling)
            got = drafting.generate(prompt, max_tokens=40, **sampling)
            assert shown(want) == shown(got)
            drafted += got.stats["drafted_tokens"]
    assert drafted > 200


def test_a_draft_sees_what_the_head_consumed(
    models: tuple[LLM, LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of prompts that come in chunks, of verified trees, and of answers beside each other."""
    seen: list[tuple[Sequence[int], int, np.ndarray]] = []
    observe = DovetailDrafter.observe_hidden

    def recorded(
        self: DovetailDrafter, text: Sequence[int], start: int, hidden: np.ndarray
    ) -> None:
        seen.append((text, start, hidden.copy()))
        observe(self, text, start, hidden)

    monkeypatch.setattr(DovetailDrafter, "observe_hidden", recorded)
    _, drafting = models
    prompts = ["or the in " * 60, *PROMPTS]
    draft = drafting.path.with_name("draft.safetensors")
    with drafted_by(draft, drafting.path, "auto") as together:
        for prompt in prompts:
            together.generate(prompt, max_tokens=60, temperature=0)
        with ThreadPoolExecutor(len(prompts)) as callers:
            list(callers.map(lambda each: together.generate(each + " we", max_tokens=9), prompts))
    sizes = {len(hidden) for _, _, hidden in seen}
    assert sizes & set(range(2, 32))  # of trees
    assert max(sizes) > 100
    texts = {id(text): list(text) for text, _, _ in seen}
    exact = {
        key: exact_hidden(drafting.path, [text], kv_dtype=np.float16)[0]
        for key, text in texts.items()
    }
    for text, start, hidden in seen:
        want = exact[id(text)][start : start + len(hidden)]
        assert relative_error(hidden, want) < 0.15  # rows are rounded to 8 bits on the way


def test_callers_beside_each_other(models: tuple[LLM, LLM]) -> None:
    plain, drafting = models
    want = [plain.generate(prompt, max_tokens=40, temperature=0) for prompt in PROMPTS]

    def answer(prompt: str) -> Completion:
        return drafting.generate(prompt, max_tokens=40, temperature=0)

    with ThreadPoolExecutor(len(PROMPTS)) as callers:
        for _ in range(2):
            got = list(callers.map(answer, PROMPTS))
            assert list(map(shown, got)) == list(map(shown, want))


def test_the_draft_keeps_what_it_read_for_the_next_turn(models: tuple[LLM, LLM]) -> None:
    plain, drafting = models
    prompt = "we in the and on we in"
    first = drafting.generate(prompt, max_tokens=10, temperature=0)
    drafter = drafting._loaded.speculation._costly
    start = drafter._start
    text = [*drafting.tokenize(prompt), *first.token_ids, *drafting.tokenize("or the")]
    want = plain.generate(text, max_tokens=3, temperature=0)
    got = drafting.generate(text, max_tokens=3, temperature=0)  # all is within the window
    assert shown(got) == shown(want)
    assert got.stats["reused_tokens"] > 5
    assert drafter._start == start < got.stats["reused_tokens"]  # all since was read on


def test_all_drafters_together(models: tuple[LLM, LLM]) -> None:
    plain, drafting = models
    draft = drafting.path.with_name("draft.safetensors")
    with drafted_by(draft, drafting.path, "auto") as together:
        for prompt in PROMPTS:
            want = plain.generate(prompt, max_tokens=60, temperature=0)
            got = together.generate(prompt, max_tokens=60, temperature=0)
            assert shown(got) == shown(want)
        assert "ngram+recycling+dovetail" in str(together.plan)
