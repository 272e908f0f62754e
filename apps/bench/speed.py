"""How speed is measured: the same prompts to every side, in turns, several times."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slipstream.runtime.tokenizer import Tokenizer

__all__ = ["Run", "Side", "Spread", "Workload", "measure", "random_prompts"]

# Idle threads of both sides spin for some milliseconds before they sleep; the next side's turn
# should not share the cores with them.
REST_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is measured: tokens of the prompt, tokens decoded after the first, runs that count."""

    prefill_tokens: int = 512
    decode_tokens: int = 64
    repeats: int = 5
    threads: int

    @property
    def context(self) -> int:
        """Tokens that a side must have room for."""
        return self.prefill_tokens + self.decode_tokens + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One prompt and its answer. Prefill ends with the first token, which it includes."""

    prefill_s: float
    prefill_tokens: int
    decode_s: float
    decode_tokens: int

    @property
    def prefill_tok_per_s(self) -> float:
        return self.prefill_tokens / self.prefill_s

    @property
    def decode_tok_per_s(self) -> float:
        return self.decode_tokens / self.decode_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle of several figures, and the ends."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        return cls(median=statistics.median(figures), lowest=min(figures), highest=max(figures))


class Side(Protocol):
    """A program that runs the model, loaded and ready.

    name    : what the report calls it
    version : of the program
    load_s  : seconds that loading took
    """

    name: str
    version: str
    load_s: float

    def run(self, prompt: Sequence[int], decode_tokens: int) -> Run:
        """Prefill a prompt from nothing, then decode greedily past any end-of-text token."""

    def close(self) -> None:
        """Let go of the model."""


def random_prompts(tokenizer: Tokenizer, length: int, count: int, seed: int = 0) -> list[list[int]]:
    """Prompts of random text tokens; no two are alike, so nothing cached can serve one."""
    rng = np.random.default_rng(seed)
    prompts: list[list[int]] = []
    for _ in range(count):
        drawn = (int(each) for each in iter(lambda: rng.integers(tokenizer.vocab_size), None))
        text = (token_id for token_id in drawn if tokenizer.token_bytes(token_id))
        prompts.append([next(text) for _ in range(length)])
    return prompts


def measure(
    sides: Sequence[Side],
    prompts: Sequence[Sequence[int]],
    workload: Workload,
    on_run: Callable[[str, int], None] | None = None,
) -> dict[str, list[Run]]:
    """Runs of each side by name, taken in turns: A B A B, so that a disturbance meets both.

    prompts : one for each run that counts, after one that warms up
    on_run  : told the side's name and the run's number, 0 for the warm-up, before it begins
    """
    runs: dict[str, list[Run]] = {side.name: [] for side in sides}
    for number, prompt in enumerate(prompts):
        for side in sides:
            if on_run:
                on_run(side.name, number)
            time.sleep(REST_S)
            run = side.run(prompt, workload.decode_tokens)
            if number > 0:
                runs[side.name].append(run)
    return runs
