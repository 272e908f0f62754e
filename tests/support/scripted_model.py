"""A model and a tokenizer whose answers a test can foretell, hold up and break."""

import threading
import time
from collections.abc import Callable

import numpy as np

from slipstream.runtime.backends import load_backend
from slipstream.runtime.engine import Engine, Generation, Scoring, TokenStream
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import ForwardPass
from slipstream.runtime.sampling import Sampler, SamplingOptions
from slipstream.runtime.speculation import Speculator
from slipstream.runtime.tokenizer import StreamDecoder

VOCAB_SIZE = 2000
END = 0  # the token that ends an answer


def text_of(tokens: range | list[int]) -> str:
    """What the tokens say: each its number and a space."""
    return "".join(f"{token} " for token in tokens)


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again; the test's time limit ends it."""
    while not condition():
        time.sleep(0.001)


class CountingTokenizer:
    """Just what a generation needs of a tokenizer."""

    end_ids = frozenset({END})

    def stream(self) -> StreamDecoder:
        return StreamDecoder(lambda token: f"{token} ".encode())


class ScriptedModel:
    """After token t comes t + 1.

    steps       : number of rows of each step so far
    gate        : a step waits for it
    before_step : called in the engine's thread before each step; may raise
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.before_step: Callable[[], None] | None = None

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        """(M, V): 20 for the token after each, 0 for all others."""
        logits = np.zeros((len(tokens), VOCAB_SIZE), np.float32)
        logits[np.arange(len(tokens)), (tokens + 1) % VOCAB_SIZE] = 20.0
        return logits

    def forward(self, step: ForwardPass) -> np.ndarray:
        self.steps.append(step.num_rows)
        if self.before_step is not None:
            self.before_step()
        assert self.gate.wait(30)
        return step.wanted(step.embed(self))


class ScriptedEngine:
    """An engine with a scripted model, and ways to give it work."""

    def __init__(self, num_pages: int = 8) -> None:
        self.model = ScriptedModel()
        self.cache = KVCache(num_layers=1, num_kv_heads=1, head_size=1, num_tokens=num_pages * 64)
        self.backend = load_backend("reference")
        self.engine = Engine(self.model, self.cache, self.backend, threads=1)

    def stream(
        self,
        prompt: list[int],
        *,
        max_length: int = 1 << 20,
        num_tokens: int = VOCAB_SIZE,
        speculator: Speculator | None = None,
        **options: object,
    ) -> TokenStream:
        """A greedy generation, cut off at `max_length` or 100 tokens after the prompt.

        num_tokens : of the tokenizer; the model may know more
        """
        sampling = SamplingOptions(**({"temperature": 0.0} | options))
        generation = Generation(
            prompt,
            Sampler(sampling, seed=0, vocab_size=num_tokens),
            CountingTokenizer(),
            max_length=min(max_length, len(prompt) + 100),
            load_s=0.0,
            speculator=speculator,
        )
        self.engine.submit(generation)
        return TokenStream(generation)

    def close(self) -> None:
        """Close the engine, whatever holds its model up."""
        self.model.gate.set()
        self.engine.close()

    def score(self, tokens: list[int]) -> Scoring:
        job = Scoring(tokens)
        self.engine.submit(job)
        return job
