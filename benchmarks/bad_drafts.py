"""What drafts cost that are never right: an adversary's, and tokens by chance. Prints the ratios.

    python benchmarks/bad_drafts.py smollm2-135m --prompts spec_bench_half.jsonl --limit 5

The adversary knows the answer and is sure of other tokens. Sides take turns prompt by prompt.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import ClassVar

from slipstream import LLM
from slipstream.apps.bench.prompt_files import read_prompts
from slipstream.apps.bench.prompt_tokens import encode_prompts
from slipstream.runtime.sampling import Sampler
from slipstream.runtime.speculation import Drafter, Guess, Speculator


class Adversary(Drafter):
    """Sure of what is not said."""

    name: ClassVar[str] = "adversary"

    def __init__(self, text: Sequence[int], vocab_size: int) -> None:
        """text : prompt and answer"""
        self._text, self._vocab_size = text, vocab_size

    def begin(self, text: Sequence[int]) -> int:
        return len(text)

    def guesses(self, path: tuple[int, ...], state: int | None) -> list[Guess]:
        if state is None or state >= len(self._text):
            return []
        wrong = (self._text[state] + 1) % self._vocab_size
        return [Guess(wrong, (self.name, 0), 0.95, state + 1)]


class Chance(Drafter):
    """Any three tokens, surer of some."""

    name: ClassVar[str] = "chance"

    def __init__(self, text: Sequence[int], vocab_size: int) -> None:
        self._chance, self._vocab_size = random.Random(len(text)), vocab_size

    def begin(self, text: Sequence[int]) -> None:
        return None

    def guesses(self, path: tuple[int, ...], state: None) -> list[Guess]:
        tokens = self._chance.sample(range(self._vocab_size), 3)
        return [Guess(token, (self.name, i), 0.6 / (i + 1)) for i, token in enumerate(tokens)]


DRAFTERS = (Adversary, Chance)


def draft_with(llm: LLM, make: Callable[[], Drafter]) -> None:
    """From now on requests have this drafter alone, each a new one."""
    speculation = llm._loaded.speculation

    def request(options, seed):
        sampler = Sampler(options, seed=seed, vocab_size=llm.tokenizer.vocab_size)
        return sampler, Speculator([make()], speculation._state)

    speculation.request = request


def measure(sides: dict[str, LLM], prompts: list[list[int]], max_tokens: int) -> None:
    """Answer all prompts on every side; sides are named by their drafters, the first has none."""
    plain, *drafted = sides.values()
    seconds, tokens = dict.fromkeys(sides, 0.0), 0
    for number, prompt in enumerate(prompts):
        known = plain.generate(prompt, max_tokens=max_tokens, temperature=0).token_ids
        for llm, drafter in zip(drafted, DRAFTERS, strict=True):
            draft_with(llm, partial(drafter, [*prompt, *known], llm.tokenizer.vocab_size))
        names = list(sides)
        for name in names[number % 3 :] + names[: number % 3]:
            done = sides[name].generate(prompt, max_tokens=max_tokens, temperature=0)
            assert done.token_ids == known, f"{name} changed the answer"
            seconds[name] += done.timings.decode_s
        tokens += done.timings.decode_tokens
    print(f"{len(prompts)} prompts, {tokens} tokens: all answers equal")
    for name, taken in seconds.items():
        share = taken / seconds["plain"]
        print(f"{name:10} {tokens / taken:7.1f} tok/s, {share:.3f} of the time without drafts")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--prompts", type=Path, nargs="+", required=True)
    parser.add_argument("--limit", type=int, default=5, help="prompts of each category")
    parser.add_argument("--max-tokens", type=int, default=200)
    options = parser.parse_args()
    with ExitStack() as stack:
        names = ["plain", *(drafter.name for drafter in DRAFTERS)]
        sides = {
            name: stack.enter_context(LLM(options.model, context=4096, speculate=speculate))
            for name, speculate in zip(names, ("off", "auto", "auto"), strict=True)
        }
        read = read_prompts(options.prompts, options.limit)
        prompts = encode_prompts(sides["plain"].path, read, options.max_tokens).tokens
        measure(sides, prompts, options.max_tokens)


if __name__ == "__main__":
    main()
