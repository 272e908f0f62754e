"""What the engine remembers of earlier prompts, and when it forgets it."""

import pytest

from support.scripted_model import ScriptedEngine, wait_until

pytestmark = pytest.mark.usefixtures("never_hangs")


def test_a_prompt_with_a_known_beginning_computes_the_rest(eight: ScriptedEngine) -> None:
    prompt = list(range(100, 180))
    first = eight.stream(prompt, max_length=90).completion
    assert first.stats["reused_tokens"] == 0
    longer = [*prompt, *first.token_ids, 7, 8]
    eight.model.steps.clear()
    second = eight.stream(longer, max_length=100).completion
    assert second.stats["reused_tokens"] == 89  # the last token was never fed
    assert eight.model.steps[0] == len(longer) - 89
    assert second.timings.prefill_tokens == 3
    assert second.token_ids[0] == 9


def test_the_same_prompt_again_computes_its_last_token(eight: ScriptedEngine) -> None:
    prompt = list(range(100, 180))
    first = eight.stream(prompt, max_length=90).completion
    second = eight.stream(prompt, max_length=90).completion
    assert second.stats["reused_tokens"] == len(prompt) - 1
    assert second.token_ids == first.token_ids


def test_a_short_shared_beginning_is_copied_and_the_long_one_stays(eight: ScriptedEngine) -> None:
    system = list(range(100, 130))
    long = [*system, *range(1000, 1100)]
    assert eight.stream(long, max_length=135).completion.text
    other = eight.stream([*system, 7], max_length=40).completion
    assert other.stats["reused_tokens"] == 30
    again = eight.stream([*long, 5], max_length=140).completion
    assert again.stats["reused_tokens"] == 130


def test_known_beginnings_are_forgotten_for_new_prompts(eight: ScriptedEngine) -> None:
    """Twenty times the cache, one after another; the oldest go first."""
    prompts = [[1000 + i] * 120 for i in range(80)]
    for prompt in prompts:
        assert eight.stream(prompt, max_length=123).completion.finish_reason == "length"
    assert eight.stream(prompts[-1], max_length=123).completion.stats["reused_tokens"] == 119
    assert eight.stream(prompts[0], max_length=123).completion.stats["reused_tokens"] == 0


def test_what_is_in_use_is_not_reused(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    first = eight.stream([1, 2, 3], max_length=60)
    wait_until(lambda: eight.model.steps == [3])
    second = eight.stream([1, 2, 3], max_length=60)
    eight.model.gate.set()
    assert second.completion.stats["reused_tokens"] == 0
    assert first.completion.token_ids == second.completion.token_ids


def test_scoring_computes_everything_but_leaves_it_for_others(eight: ScriptedEngine) -> None:
    tokens = list(range(100, 180))
    assert eight.stream(tokens, max_length=82).completion.text
    eight.model.steps.clear()
    eight.score(tokens).result()
    assert sum(eight.model.steps) == len(tokens)
    assert eight.stream(tokens, max_length=82).completion.stats["reused_tokens"] == 79
