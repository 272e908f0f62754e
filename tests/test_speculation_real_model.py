"""A real model: whatever drafts, 60 answers are the plain ones."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from slipstream import LLM
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.completion import Completion
from slipstream.runtime.errors import CatalogueError
from slipstream.runtime.sampling import Sampler, SamplingOptions
from slipstream.runtime.speculation import Drafter, Speculator
from support.fixed_costs import draft_always
from support.scripted_drafters import Oracle, RandomDrafter
from support.tiny_draft import write_tiny_draft

pytestmark = [pytest.mark.model, pytest.mark.slow]

TOKENS = 200
SUBJECTS = ["rivers", "bread", "chess", "bees", "glass", "music", "maps", "salt", "clocks", "tea"]
REQUESTS = [
    "Describe {}.",
    "Explain {} to a child.",
    "Write a short story about {}.",
    "Write a Python function about {} with a docstring, then repeat it with type hints.",
    "List ten facts about {}.",
    "Summarize twice, in the same words, why {} matter.",
]
Requested = tuple[Sampler, Speculator | None]


@pytest.fixture(scope="module")
def path() -> Path:
    try:
        return resolve("smollm2-135m")
    except CatalogueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def plain(path: Path) -> Iterator[LLM]:
    with LLM(path, speculate="off", context=1024) as llm:
        yield llm


@pytest.fixture(scope="module")
def prompts(plain: LLM) -> list[list[int]]:
    texts = [request.format(subject) for subject in SUBJECTS for request in REQUESTS]
    return [plain.chat_tokens([{"role": "user", "content": text}]) for text in texts]


@pytest.fixture(scope="module")
def answers(plain: LLM, prompts: list[list[int]]) -> list[tuple[int, ...]]:
    return [answer(plain, prompt).token_ids for prompt in prompts]


def answer(llm: LLM, prompt: list[int]) -> Completion:
    return llm.generate(prompt, max_tokens=TOKENS, temperature=0)


def drafted_by(llm: LLM, make: Callable[[], Drafter]) -> None:
    """From now on the requests have this drafter alone, each a new one."""
    speculation = llm._loaded.speculation

    def request(options: SamplingOptions, seed: int) -> Requested:
        sampler = Sampler(options, seed=seed, vocab_size=llm.tokenizer.vocab_size)
        return sampler, Speculator([make()], speculation._state)

    speculation.request = request  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "drafters", ["ngram", "recycling", "ngram+recycling", "random", "dovetail"]
)
def test_sixty_answers_are_the_plain_ones(
    path: Path,
    prompts: list[list[int]],
    answers: list[tuple[int, ...]],
    drafters: str,
    tmp_path: Path,
) -> None:
    """With a draft of random weights and guesses by chance too, verified whenever possible."""
    draft = None
    if drafters == "dovetail":
        draft = str(tmp_path / "random.safetensors")
        write_tiny_draft(Path(draft), path, blocks=1, window=256)
    names = "auto" if drafters == "random" else drafters
    with LLM(path, speculate=names, draft=draft, context=1024) as llm:
        if drafters == "random":
            drafted_by(llm, partial(RandomDrafter, llm.tokenizer.vocab_size))
        if drafters == "dovetail":
            draft_always(llm)
        found = [answer(llm, prompt) for prompt in prompts]
    assert [each.token_ids for each in found] == answers
    assert sum(each.stats["drafted_tokens"] for each in found) > 60


def test_an_oracle_is_accepted_in_full_at_every_step(
    path: Path, prompts: list[list[int]], answers: list[tuple[int, ...]]
) -> None:
    drafted = 0
    with LLM(path, context=1024) as llm:
        for prompt, tokens in zip(prompts, answers, strict=True):
            drafted_by(llm, partial(Oracle, [*prompt, *tokens]))
            done = answer(llm, prompt)
            assert done.token_ids == tokens
            assert done.stats["accepted_tokens"] == done.stats["drafted_tokens"]
            drafted += done.stats["drafted_tokens"]
    assert drafted > 0.9 * sum(map(len, answers))
