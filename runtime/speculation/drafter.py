"""What every drafter can do: name tokens that may come next."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.account import Account
from slipstream.runtime.speculation.draft_tree import DraftTree
from slipstream.runtime.speculation.speculation_stats import SpeculationStats

NUM_LIKELIEST = 8  # tokens after each row that `Drafter.observe` is told of


class Guess(NamedTuple):
    """A token that may come next.

    kind  : drafter and evidence; guesses of one kind are counted together
    prior : probability to be right, as long as few of the kind were counted
    state : the drafter's own, given back when the guess is itself to be continued
    """

    token: int
    kind: tuple[str, int]
    prior: float
    state: Any = None


class Drafter(ABC):
    """Guesses at a text's continuation, asked node by node."""

    name: ClassVar[str]
    wants_likeliest: ClassVar[bool] = False  # whether `observe` is to be told of steps

    @property
    def wants_hidden(self) -> bool:
        """Whether `observe_hidden` is to be told of what comes next."""
        return False

    @abstractmethod
    def begin(self, text: Sequence[int]) -> Any:
        """The state at the end of a text: one that grew since the last call, or another."""

    @abstractmethod
    def guesses(self, path: tuple[int, ...], state: Any) -> list[Guess]:
        """What may follow a path, likeliest first, no token twice.

        path  : the text's last token, then the drafted ones down to the node
        state : of the end of the text, or of the guess that named the path's last token; None when
                only other drafters named it
        """

    def observe(  # noqa: B027
        self, tokens: Sequence[int], likeliest: np.ndarray, logits: np.ndarray
    ) -> None:
        """Learn from a step: what the target finds likely after each of its M rows.

        likeliest : (M, NUM_LIKELIEST) int32, in order
        logits    : (M, NUM_LIKELIEST) float32, theirs
        """

    def end(self) -> None:  # noqa: B027
        """The request that was drafted for is over."""

    def stats(self) -> SpeculationStats:
        """What there is to say of a request's drafts beside what is counted of all."""
        return {}

    def observe_hidden(  # noqa: B027
        self, text: Sequence[int], start: int, hidden: np.ndarray
    ) -> None:
        """Learn what the target made of tokens of a text, from `start` on.

        text   : the request's own list, which grows
        hidden : (T, C) float32, final-normed hidden states, the output head's input; the drafter's
                 to keep
        """


class CostlyDrafter(Drafter):
    """A drafter whose guesses take time that they must be worth.

    PRIOR   : share of its first guesses that are right, before any was counted
    account : what its guesses took, and brought beyond those of the cheap drafters
    """

    PRIOR: ClassVar[float]

    def __init__(self) -> None:
        self.account = Account()

    @property
    @abstractmethod
    def link_bytes(self) -> int:
        """Copied so far between the host and the device that drafts."""

    @abstractmethod
    def price_s(self, path: tuple[int, ...]) -> float | None:
        """Seconds that `guesses` is expected to take; None where nothing is known yet."""

    @abstractmethod
    def catch_up(
        self, text: Sequence[int], tokens_left: int, step_s: Callable[[int], float]
    ) -> bool:
        """Work on being ready for the end of a text; whether it now is.

        A bounded part of the work for each call, and none that is not worth its time.

        tokens_left : to come at most
        step_s      : seconds that a step of the target takes, by its rows
        """

    def draft_ahead(
        self, tree: DraftTree, values: Sequence[float], max_tokens: int, rates: AcceptanceRates
    ) -> None:
        """The target begins to verify a tree: what comes next may be drafted meanwhile.

        values     : of the nodes: the chance of each that it is accepted
        max_tokens : that a path may have
        rates      : of guesses that came true; another thread may read them at any time
        """
