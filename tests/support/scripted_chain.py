"""A target and a draft whose next token depends on the last one only, and texts made by them."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from slipstream.cpu_kernels import reference
from slipstream.runtime.engine import Generation
from slipstream.runtime.sampling import Sampler
from slipstream.runtime.speculation import Drafter, DraftTree, Guess, SpeculationState, Speculator
from slipstream.runtime.speculation.step_costs import StepCosts
from slipstream.runtime.tokenizer import StreamDecoder
from support.fixed_costs import fix_costs

VOCAB_SIZE = 5
_START = [0, 1]
TARGET = np.random.default_rng(0).normal(0.0, 1.2, (VOCAB_SIZE, VOCAB_SIZE)).astype(np.float32)
NOISE = np.random.default_rng(1).normal(0.0, 1.2, (VOCAB_SIZE, VOCAB_SIZE)).astype(np.float32)
DRAFT = TARGET + NOISE

BeforeVerifying = Callable[[DraftTree], None]


class EndlessTokenizer:
    """Of texts that only their length ends."""

    end_ids: frozenset[int] = frozenset()

    def stream(self) -> StreamDecoder:
        return StreamDecoder(lambda token: b"x")


class ScriptedSequence:
    """In the place of a `TimedSequence`."""

    def __init__(self) -> None:
        self.fed_s = 0.0
        self.link_bytes = 0
        self.costs = StepCosts(32)
        fix_costs(self.costs, {1: 0.03e6, 32: 0.04e6})

    def to_host(self, logits: np.ndarray) -> np.ndarray:
        return logits


class ScriptedDraft:
    """In the place of a `DraftModel`."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.sequence = ScriptedSequence()

    def truncate(self, length: int) -> None:
        del self.tokens[length:]

    def feed(self, tokens: Sequence[int]) -> np.ndarray:
        self.tokens += tokens
        return DRAFT[self.tokens[-1:]]


class Likeliest(Drafter):
    """Names the target's likeliest token, which a draft model may have drawn too."""

    name: ClassVar[str] = "likeliest"

    def begin(self, text: Sequence[int]) -> None:
        return None

    def guesses(self, path: tuple[int, ...], state: None) -> list[Guess]:
        return [Guess(int(TARGET[path[-1]].argmax()), (self.name, 0), 0.3)]


def chain_state() -> SpeculationState:
    """On a machine where a row more costs a tenth of a step.

    Steps are long, so that what drafting takes in truth changes nothing.
    """
    state = SpeculationState(reference)
    fix_costs(state.costs, {1: 1e6, 32: 4.1e6})
    return state


def written(
    sampler: Sampler,
    drafters: Sequence[Drafter],
    state: SpeculationState,
    length: int,
    before_verifying: BeforeVerifying = lambda tree: None,
) -> Generation:
    """A text of so many tokens, by a generation as the engine runs it.

    before_verifying : called with each draft, an empty one too
    """
    speculator = Speculator(drafters, state)
    text = Generation(
        list(_START),
        sampler,
        EndlessTokenizer(),
        max_length=length,
        load_s=0.0,
        in_pieces=False,
        speculator=speculator,
    )
    text.started(0)
    while not text.finished:
        tree = text.draft()
        before_verifying(tree)
        logits = TARGET[[text.tokens[-1], *tree.tokens]]
        text.took(len(logits), state.costs.seconds(len(logits)))
        if tree:
            text.verify(tree, logits)
        else:
            text.advance(logits)
    return text
