"""Grows the draft tree that is worth most: always the likeliest guess first.

Source: DySpec, arXiv:2410.11744, with measured acceptance in the place of a draft model's
probabilities: a node's value is the estimated probability that it and all its ancestors are right.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.draft_tree import ROOT, DraftTree
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter, Guess

_MOST_CERTAIN = 0.98  # guesses at one place share at most so much
_States = dict[int, Any]  # of drafters by their index


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What guesses must be worth.

    value   : least value of a node
    token_s : seconds that a token takes now, which one that is guessed saves
    row_s   : seconds that a row more adds to a step
    """

    value: float
    token_s: float = 0.0
    row_s: float = 0.0


class TreeGrowth:
    """A tree that grows, and all guesses made at it, for what can be learned from them.

    guesses  : those at what follows each node, and ROOT
    costly_s : seconds spent on drafters whose guesses take time
    """

    def __init__(
        self,
        drafters: Sequence[Drafter],
        rates: AcceptanceRates,
        text: Sequence[int],
        worth: Worth,
    ) -> None:
        """Those of `drafters` whose guesses take time come last."""
        self._drafters = drafters
        self._rates = rates
        self._worth = worth
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._values: list[float] = []
        self._order = count()  # breaks ties: equal values in the order of their making
        self._heap: list[tuple[float, int, int, int, tuple[int, ...], _States]] = []
        self._leaf: tuple[int, float, tuple[int, ...], _States] | None = None  # to be expanded
        self.guesses: dict[int, list[Guess]] = {}
        self.costly_s = 0.0
        states = {index: drafter.begin(text) for index, drafter in enumerate(drafters)}
        self._leaf = (ROOT, 1.0, (text[-1],), states)

    @property
    def values(self) -> Sequence[float]:
        """Of the nodes so far, descending."""
        return self._values

    def tree(self, num_nodes: int) -> DraftTree:
        """The first nodes."""
        return DraftTree(
            tokens=tuple(self._tokens[:num_nodes]), parents=tuple(self._parents[:num_nodes])
        )

    def grow(self, num_nodes: int) -> bool:
        """Grow to so many nodes; False when nothing more is worth it."""
        while len(self._tokens) < num_nodes:
            if self._leaf is not None:
                self._expand(*self._leaf)
                self._leaf = None
            if not self._heap:
                return False
            minus_value, _, parent, token, path, states = heapq.heappop(self._heap)
            self._leaf = (len(self._tokens), -minus_value, (*path, token), states)
            self._tokens.append(token)
            self._parents.append(parent)
            self._values.append(-minus_value)
        return True

    def _expand(self, node: int, value: float, path: tuple[int, ...], states: _States) -> None:
        """Put what may follow a node on the heap."""
        made: list[Guess] = []
        chances: dict[int, float] = {}  # of each token that was named
        following: dict[int, _States] = {}
        for index, drafter in enumerate(self._drafters):
            if isinstance(drafter, CostlyDrafter) and not self._pays(drafter, path, value, chances):
                continue
            for guess in drafter.guesses(path, states.get(index)):
                made.append(guess)
                wrong = 1.0 - chances.get(guess.token, 0.0)
                rate = self._rates.rate(guess.kind, guess.prior)
                chances[guess.token] = 1.0 - wrong * (1.0 - rate)
                following.setdefault(guess.token, {})[index] = guess.state
        self.guesses[node] = made
        scale = value * min(1.0, _MOST_CERTAIN / max(sum(chances.values()), _MOST_CERTAIN))
        for token, chance in chances.items():
            if chance * scale >= self._worth.value:
                entry = (-chance * scale, next(self._order), node, token, path, following[token])
                heapq.heappush(self._heap, entry)

    def _pays(
        self,
        drafter: CostlyDrafter,
        path: tuple[int, ...],
        value: float,
        chances: dict[int, float],
    ) -> bool:
        """Whether a costly drafter's guess saves more time than it takes."""
        surer = self._rates.rate(first_of(drafter.name), drafter.PRIOR) - max(
            chances.values(), default=0.0
        )
        price_s = drafter.price_s(path)
        if value * surer * self._worth.token_s <= price_s + self._worth.row_s:
            return False
        self.costly_s += price_s
        return True


def first_of(name: str) -> tuple[str, int]:
    """The kind as which a drafter's first guesses are counted, whatever their evidence."""
    return name, -1
