"""A job that generates text, and the stream through which its caller follows it."""

import queue
import time
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np

from slipstream.runtime.completion import Completion, FinishReason, Piece, Timings
from slipstream.runtime.engine.job import Job
from slipstream.runtime.sampling import Sampler, StopMatcher, TokenLogprobs, top_logprobs
from slipstream.runtime.speculation import EMPTY, ROOT, DraftTree, SpeculationStats, Speculator
from slipstream.runtime.tokenizer import Tokenizer


class Generation(Job):
    """Samples one token a step and turns tokens into text until something ends it."""

    def __init__(
        self,
        prompt: list[int],
        sampler: Sampler,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        load_s: float,
        in_pieces: bool = True,
        speculator: Speculator | None = None,
        vram_bytes: Callable[[], int] = int,
    ) -> None:
        """max_length counts the prompt too; the prompt must be shorter.

        in_pieces  : False when nobody reads before the end, so that no token wakes a thread
        speculator : None to decode one token a step
        vram_bytes : tells what GPU memory was used; by default none
        """
        super().__init__(list(prompt), max_length)
        self.events: queue.SimpleQueue[Piece | Completion | BaseException] = queue.SimpleQueue()
        self._num_prompt = len(prompt)
        self._sampler = sampler
        self._options = sampler.options
        self._end_ids = tokenizer.end_ids | self._options.stop_ids
        self._decoder = tokenizer.stream()
        self._stop = StopMatcher(self._options.stop_strings)
        self._text: list[str] = []
        self._held: list[tuple[int, TokenLogprobs | None]] = []
        self._logprobs: list[TokenLogprobs] = []
        self._load_s = load_s
        self._in_pieces = in_pieces
        self._speculator = speculator
        self._vram_bytes = vram_bytes
        self._ended: FinishReason | None = None
        self._reused = 0
        self._steps = 0
        self._sampled = 0
        self._start_s = self._first_token_s = 0.0

    def wanted(self, count: int) -> range:
        return range(count - 1, count) if count == self.num_pending else range(0)

    def started(self, reused: int) -> None:
        self._reused = reused
        self._start_s = time.perf_counter()

    @property
    def wants_hidden(self) -> bool:
        return self._speculator is not None and self._speculator.wants_hidden

    def advance(self, logits: np.ndarray) -> None:
        self._steps += 1
        if self._speculator is not None and self.hidden is not None:
            start = self.cached - len(self.hidden)
            self._speculator.observe_hidden(self.tokens, start, self.hidden)
        if len(logits) == 0:
            return
        fed = self.tokens[-1:]
        token = self._take_next(logits[0])
        if self._speculator is not None:
            self._speculator.observe([], [token])
            self._speculator.learn(fed, logits)
        self._finish_if_ended()

    def draft(self) -> DraftTree:
        if self._speculator is None:
            return EMPTY
        # Of the tokens that are left, one is the target's own.
        return self._speculator.draft(self.tokens, self.max_length - len(self.tokens) - 1)

    def verify(self, tree: DraftTree, logits: np.ndarray) -> list[int]:
        assert self._speculator is not None
        self._steps += 1
        fed = [self.tokens[-1], *tree.tokens]
        path: list[int] = []
        target = [self._take_next(logits[0])]
        while self._ended is None:
            node = tree.children.get(path[-1] if path else ROOT, {}).get(target[-1])
            if node is None:
                break
            path.append(node)
            target.append(self._take_next(logits[node + 1]))
        if self.hidden is not None:
            kept = self.hidden[[0, *(node + 1 for node in path)]]
            self._speculator.observe_hidden(self.tokens, self.cached, kept)
        self._speculator.observe(path, target)
        self._speculator.learn(fed, logits)
        self._finish_if_ended()
        return path

    def took(self, num_rows: int, seconds: float) -> None:
        if self._speculator is not None:
            self._speculator.took(num_rows, seconds)

    def _take_next(self, logits: np.ndarray) -> int:
        """Sample the token after the last one, and append it unless it ends the text."""
        if not self._sampled:
            self._first_token_s = time.perf_counter()
        row = logits[: self._sampler.vocab_size]  # some embeddings are padded beyond the tokens
        token = self._sampler.sample(row, self.tokens)
        self._sampled += 1
        if token in self._end_ids:
            self._ended = "stop"
            return token
        self._emit(token, row)
        self.tokens.append(token)
        if self._stop.matched is not None:
            self._ended = "stop"
        elif len(self.tokens) >= self.max_length:
            self._ended = "length"
        return token

    def _finish_if_ended(self) -> None:
        if self._ended is not None:
            self._finish(self._ended)

    def fail(self, error: BaseException) -> None:
        self.finished = True
        self.events.put(error)
        self._end_drafts()

    def cancel(self) -> None:
        self._finish("cancelled")

    def _emit(self, token: int, logits: np.ndarray) -> None:
        """Turn a token into text; text that may still become a stop string is held back."""
        logprobs = None
        if self._options.logprobs is not None:
            logprobs = top_logprobs(logits, token, self._options.logprobs)
            self._logprobs.append(logprobs)
        self._held.append((token, logprobs))
        self._put(self._stop.push(self._decoder.push(token)))

    def _put(self, text: str) -> None:
        if not text:
            return
        self._text.append(text)
        if self._in_pieces:
            self.events.put(
                Piece(
                    text=text,
                    token_ids=tuple(token for token, _ in self._held),
                    logprobs=tuple(each for _, each in self._held if each is not None),
                )
            )
        self._held.clear()

    def _finish(self, reason: FinishReason) -> None:
        if self._stop.matched is None:
            self._put(self._stop.push(self._decoder.flush()) + self._stop.flush())
        self.finished = True
        self.events.put(self._completion(reason))
        self._end_drafts()

    def _end_drafts(self) -> None:
        if self._speculator is not None:
            self._speculator.end()
        self._speculator = None  # who keeps an ended generation should not keep a draft model

    def _completion(self, reason: FinishReason) -> Completion:
        now = time.perf_counter()
        start = self._start_s or now
        first = self._first_token_s or now
        generated = self.tokens[self._num_prompt :]
        drafts: SpeculationStats = {} if self._speculator is None else self._speculator.stats()
        draft_bytes = 0 if self._speculator is None else self._speculator.link_bytes
        return Completion(
            text="".join(self._text),
            token_ids=tuple(generated),
            finish_reason=reason,
            timings=Timings(
                load_s=self._load_s,
                prefill_s=first - start,
                prefill_tokens=min(self.cached, self._num_prompt) - self._reused,
                decode_s=now - first,
                decode_tokens=max(0, self._sampled - 1),
            ),
            stats={
                "prompt_tokens": self._num_prompt,
                "reused_tokens": self._reused,
                "steps": self._steps,
                "seed": self._sampler.seed,
                "link_bytes": self.link_bytes + draft_bytes,
                "vram_bytes": self._vram_bytes(),
                "streamed_tokens": self.streamed_tokens,
                "streaming_rows": self.streaming_rows,
                **drafts,
            },
            logprobs=tuple(self._logprobs),
        )


class TokenStream(Iterator[Piece]):
    """Pieces of a generation as they come. Leaving it early, or `cancel`, stops the generation.

    Threads that share one share its pieces; each of them hears of the end.

    on_end : called when the end has come, before the reader hears of it
    """

    def __init__(self, generation: Generation, owner: object = None) -> None:
        """`owner` is kept from being collected, and so from closing the engine, until the end."""
        self.generation = generation
        self.on_end: Callable[[], None] | None = None
        self._owner = owner
        self._completion: Completion | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        if self._completion is not None:
            raise StopIteration
        try:
            event = self.generation.events.get()
        except BaseException:  # Ctrl-C while waiting: the caller has left
            self.cancel()
            raise
        if isinstance(event, Piece):
            return event
        self.generation.events.put(event)  # whoever asks again, or waits beside, hears the same
        self._owner = None
        if self.on_end is not None:
            self.on_end()
        if isinstance(event, Completion):
            self._completion = event
            raise StopIteration
        self.cancel()
        raise event

    def cancel(self) -> None:
        """Ask the generation to stop; it ends between two steps, with what it has so far."""
        self.generation.cancelled = True

    @property
    def completion(self) -> Completion:
        """The finished generation; waits for the pieces that were not taken yet."""
        for _ in self:
            pass
        assert self._completion is not None
        return self._completion

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()
