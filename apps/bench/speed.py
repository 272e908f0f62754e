"""How speed is measured: the same prompts to every side, in turns, several times."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slipstream.apps.bench.workload import Workload
from slipstream.runtime.completion import Timings
from slipstream.runtime.tokenizer import Tokenizer

# Idle threads of both sides spin for some milliseconds before they sleep; the next side's turn
# should not share the cores with them.
REST_S = 0.1


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
    """

    name: str
    version: str

    def run(self, prompt: Sequence[int], decode_tokens: int, *, reuse: bool = False) -> Timings:
        """Prefill a prompt, then decode greedily past any end-of-text token.

        reuse : the prompt's keys and values may be taken from the run before, if it was the same
        """

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
) -> dict[str, list[Timings]]:
    """Runs of each side by name, taken in turns: A B A B, so that a disturbance meets both.

    prompts : one for each run that counts, after one that warms up
    on_run  : told the side's name and the run's number, 0 for the warm-up, before it begins
    """
    runs: dict[str, list[Timings]] = {side.name: [] for side in sides}
    for number, prompt in enumerate(prompts):
        for side in sides:
            if on_run:
                on_run(side.name, number)
            time.sleep(REST_S)
            run = side.run(prompt, workload.decode_tokens)
            if number > 0:
                runs[side.name].append(run)
    return runs
