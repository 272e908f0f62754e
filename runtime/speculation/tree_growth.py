"""Grows the draft tree that is worth most: always the likeliest guess first.

Source: DySpec, arXiv:2410.11744, with measured acceptance in the place of a draft model's
probabilities: a node's value is the estimated probability that it and all its ancestors are right.
"""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.combined_guesses import CombinedGuesses
from slipstream.runtime.speculation.draft_tree import ROOT, DraftTree
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter, Guess

_States = dict[int, Any]  # of drafters by their index


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What guesses must be worth.

    least_value : of a node
    token_s     : seconds that a token takes now, which one that is guessed saves
    row_s       : seconds that a row more adds to a step
    """

    least_value: float
    token_s: float = 0.0
    row_s: float = 0.0


class _Candidate(NamedTuple):
    """A guess that may become a node; the heap's first is the likeliest, then the earliest."""

    minus_value: float
    order: int
    parent: int
    path: tuple[int, ...]  # from the text's last token down to this one
    states: _States


class Without(NamedTuple):
    """A step as it had been without a drafter.

    num_tokens : that it had brought: those up to the first accepted one that only it had named
    num_nodes  : that had been verified
    """

    num_tokens: int
    num_nodes: int


class TreeGrowth:
    """A tree that grows, and all guesses made at it, for what can be learned from them.

    drafters : who are asked, a costly one last
    guesses  : those at what follows each node, and ROOT
    firsts   : the costly drafter's first one there
    namers   : of each node, the first drafter that named it: a costly one, where no cheap one did
    costly_s : seconds spent on the costly drafter
    """

    def __init__(
        self,
        drafters: Sequence[Drafter],
        rates: AcceptanceRates,
        text: Sequence[int],
        worth: Worth,
    ) -> None:
        """text : token ids so far"""
        self.drafters = drafters
        self._rates = rates
        self._worth = worth
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._values: list[float] = []
        self._order = count()
        self._heap: list[_Candidate] = []
        self.guesses: dict[int, list[Guess]] = {}
        self.firsts: dict[int, Guess] = {}
        self.namers: list[Drafter] = []
        self.costly_s = 0.0
        states = {index: drafter.begin(text) for index, drafter in enumerate(drafters)}
        root = _Candidate(-1.0, next(self._order), ROOT, (text[-1],), states)
        self._unexpanded: tuple[int, _Candidate] | None = (ROOT, root)

    @property
    def values(self) -> Sequence[float]:
        """Of the nodes so far, descending."""
        return self._values

    def tree(self, num_nodes: int) -> DraftTree:
        """The first nodes."""
        return DraftTree(
            tokens=tuple(self._tokens[:num_nodes]), parents=tuple(self._parents[:num_nodes])
        )

    def without(self, drafter: Drafter, size: int, path: Sequence[int]) -> Without:
        """What the first `size` nodes and an accepted path had been, had one not been asked."""
        own = next((depth for depth, node in enumerate(path) if self.namers[node] is drafter), None)
        return Without(
            num_tokens=len(path) + 1 if own is None else own + 1,
            num_nodes=sum(each is not drafter for each in self.namers[:size]),
        )

    def grow(self, num_nodes: int) -> bool:
        """Grow to so many nodes; False when nothing more is worth it."""
        while len(self._tokens) < num_nodes:
            if self._unexpanded is not None:
                self._expand(*self._unexpanded)
                self._unexpanded = None
            if not self._heap:
                return False
            chosen = heapq.heappop(self._heap)
            self._unexpanded = (len(self._tokens), chosen)
            self.namers.append(self.drafters[min(chosen.states)])
            self._tokens.append(chosen.path[-1])
            self._parents.append(chosen.parent)
            self._values.append(-chosen.minus_value)
        return True

    def _expand(self, node: int, at: _Candidate) -> None:
        """Put what may follow a node on the heap."""
        made = self.guesses[node] = []
        combined = CombinedGuesses()
        following: dict[int, _States] = {}
        for index, drafter in enumerate(self.drafters):
            if isinstance(drafter, CostlyDrafter):
                price_s = drafter.price_s(at.path)
                if price_s is not None and not self._pays(drafter, price_s, at, combined.covered):
                    continue
                guesses = self._bought(drafter, price_s, node, at, at.states.get(index))
            else:
                guesses = drafter.guesses(at.path, at.states.get(index))
            made += guesses
            combined.add(
                [(each.token, self._rates.rate(each.kind, each.prior)) for each in guesses]
            )
            for guess in guesses:
                following.setdefault(guess.token, {})[index] = guess.state
        for token, chance in combined.chances().items():
            value = -at.minus_value * chance
            if value >= self._worth.least_value:
                path, order = (*at.path, token), next(self._order)
                heapq.heappush(self._heap, _Candidate(-value, order, node, path, following[token]))

    def _pays(self, drafter: CostlyDrafter, price_s: float, at: _Candidate, covered: float) -> bool:
        """Whether a costly drafter's guess saves more time than it takes.

        covered : probability that one of the guesses that are there without it is right
        """
        rate = self._rates.rate(first_of(drafter), drafter.PRIOR)
        saved_s = -at.minus_value * rate * (1.0 - covered) * self._worth.token_s
        return drafter.account.is_worth_asking(price_s, saved_s - self._worth.row_s)

    def _bought(
        self, drafter: CostlyDrafter, price_s: float | None, node: int, at: _Candidate, state: Any
    ) -> list[Guess]:
        """A costly drafter's guesses, with the time that they took counted."""
        start = time.perf_counter()
        guesses = drafter.guesses(at.path, state)
        seconds = time.perf_counter() - start
        self.costly_s += seconds
        if price_s is not None:
            drafter.account.took(price_s, seconds)
        if guesses:
            self.firsts[node] = guesses[0]
        return guesses


def first_of(drafter: CostlyDrafter) -> tuple[str, str]:
    """The kind as which a costly drafter's first guesses are counted, whatever their evidence."""
    return drafter.name, "first"
