"""What the engine runs: a sequence of tokens with something to do with their logits."""

from abc import ABC, abstractmethod

import numpy as np

from slipstream.runtime.speculation import EMPTY, DraftTree

LARGEST_CHUNK = 512  # rows of one sequence in a step


class Job(ABC):
    """A sequence in the engine.

    tokens       : all tokens so far; the engine feeds those that are not in the KV cache yet
    max_length   : tokens that the sequence may reach; pages are reserved for so many
    chunk_limit  : rows of it that one step takes at most
    wants_hidden : whether `hidden` is to be filled
    hidden       : set by the engine before `advance` and `verify`: final-normed hidden states of
                   the step's rows of this job, (rows, C) float32
    streams      : whether its steps are streamed; None leaves that to the engine
    is_timed     : whether the time of its steps says what later ones take
    reuses_cache : whether a cached prefix may stand in for computing it
    slot, cached : set by the engine: KV cache slot, and how many tokens it holds
    link_bytes   : kept by the engine: of its share in steps, copied between host and GPU
    streamed_tokens : kept by the engine: fed in steps with streamed weights
    streaming_rows  : set by the engine: see `Stats`
    """

    streams: bool | None = None
    is_timed = True
    reuses_cache = True
    chunk_limit = LARGEST_CHUNK

    def __init__(self, tokens: list[int], max_length: int) -> None:
        self.tokens = tokens
        self.max_length = max_length
        self.slot = -1
        self.cached = 0
        self.cancelled = False
        self.finished = False
        self.hidden: np.ndarray | None = None
        self.link_bytes = 0
        self.streamed_tokens = 0
        self.streaming_rows: int | None = None

    @property
    def num_pending(self) -> int:
        """Tokens that are not in the KV cache yet."""
        return len(self.tokens) - self.cached

    @property
    def wants_hidden(self) -> bool:
        return False

    def draft(self) -> DraftTree:
        """Guesses at what follows the one pending token, to be verified with it."""
        return EMPTY

    @abstractmethod
    def wanted(self, count: int) -> range:
        """Of the next `count` pending tokens, those whose logits the job wants."""

    @abstractmethod
    def started(self, reused: int) -> None:
        """Admitted; `reused` tokens were found in the KV cache."""

    @abstractmethod
    def advance(self, logits: np.ndarray) -> None:
        """Take the logits (wanted, V) of a step; may append tokens or set `finished`."""

    def verify(self, tree: DraftTree, logits: np.ndarray) -> list[int]:
        """As `advance` after a step with a draft: logits (1 + nodes, V) of token and nodes.

        Returns the accepted nodes, from the root down; their tokens are among those appended.
        """
        raise NotImplementedError

    def took(self, num_rows: int, seconds: float) -> None:  # noqa: B027
        """A step of this job's pending token and draft alone took so long."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """The job can't go on; whoever waits for it gets `error`."""

    @abstractmethod
    def cancel(self) -> None:
        """Somebody asked the job to stop; called between steps."""
