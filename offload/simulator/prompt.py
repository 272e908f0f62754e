"""The works of reading a prompt, chunk by chunk."""

from collections.abc import Iterator
from dataclasses import dataclass

from slipstream.offload.simulator.steps import PlacedParts, WorkList, add_step
from slipstream.offload.step_times import PREFILL_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Tokens that are read into an empty cache, some at a time."""

    tokens: int
    chunk_tokens: int = PREFILL_TOKENS
    held_tokens: int | None = None  # taken to be in the cache all the time; None for those that are

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Of each chunk its rows, and the tokens that the cache holds before it."""
        for first in range(0, self.tokens, self.chunk_tokens):
            rows = min(self.chunk_tokens, self.tokens - first)
            yield rows, first if self.held_tokens is None else self.held_tokens


def add_chunk(
    works: WorkList, model: PlacedParts, chunk: tuple[int, int], after: tuple[int, ...]
) -> tuple[int, ...]:
    """Adds the step that reads a chunk, with logits for its last row; its last work."""
    rows, held_tokens = chunk
    last = add_step(works, model, rows=rows, head_rows=1, held_tokens=held_tokens, after=after)
    return (last,)


def add_prefill(
    works: WorkList, model: PlacedParts, prompt: Prompt, after: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """Adds the steps that read a prompt; the last work, or `after` for an empty prompt."""
    for chunk in prompt.chunks():
        after = add_chunk(works, model, chunk, after)
    return after


def add_prefill_in_turns(
    works: WorkList, target: PlacedParts, draft: PlacedParts, prompt: Prompt
) -> tuple[int, ...]:
    """Adds the steps in which two models read each chunk one after the other; the last work."""
    last: tuple[int, ...] = ()
    for chunk in prompt.chunks():
        last = add_chunk(works, target, chunk, last)
        last = add_chunk(works, draft, chunk, last)
    return last
