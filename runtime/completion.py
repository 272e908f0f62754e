"""What a generation gives back: pieces while it runs, a completion at its end."""

from dataclasses import dataclass, field
from typing import Literal

from slipstream.runtime.sampling import TokenLogprobs
from slipstream.runtime.speculation import SpeculationStats

# stop: an end-of-turn token, stop string or stop id; length: max_tokens or the context's end.
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Text that became certain, and the tokens it came from."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds and tokens. Prefill ends with the first token; decode counts those after it."""

    load_s: float
    prefill_s: float
    prefill_tokens: int  # computed; those found in the KV cache are not among them
    decode_s: float
    decode_tokens: int

    @property
    def prefill_tok_per_s(self) -> float:
        return self.prefill_tokens / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tok_per_s(self) -> float:
        return self.decode_tokens / self.decode_s if self.decode_s > 0 else 0.0


class Stats(SpeculationStats):
    """Counts of a generation; of its drafts too, where speculation is on.

    reused_tokens : of the prompt, found in the KV cache
    steps         : forwards of the model, those over the prompt among them
    link_bytes    : copied between the host and a GPU in those steps and while drafting
    vram_bytes    : the most of a GPU's memory that tensors of this process have taken so far
    streamed_tokens : of the prompt, read by the GPU with streamed weights
    streaming_rows  : of a prompt in a step, from which on that is faster by what was planned and
                    measured; None where nothing was streamed, or where it pays no more
    """

    prompt_tokens: int
    reused_tokens: int
    steps: int
    seed: int
    link_bytes: int
    vram_bytes: int
    streamed_tokens: int
    streaming_rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A finished generation.

    token_ids : the generated tokens, without the end-of-turn token
    stats     : counts of tokens, steps, drafts and bytes: see `Stats`
    logprobs  : one for each token when asked for
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    timings: Timings
    stats: Stats
    logprobs: tuple[TokenLogprobs, ...] = field(default=(), repr=False)
