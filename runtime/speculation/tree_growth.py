"""Grows the draft tree that is worth most: always the likeliest guess first.

Source: DySpec, arXiv:2410.11744, with measured acceptance in the place of a draft model's
probabilities: a node's value is the estimated probability that it and all its ancestors are right.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.draft_tree import ROOT, DraftTree
from slipstream.runtime.speculation.drafter import Drafter, Guess

_MOST_CERTAIN = 0.98  # guesses at one place share at most so much


@dataclass(slots=True)
class Growth:
    """A tree and all guesses that were made while it grew, for what can be learned from them."""

    tree: DraftTree
    guesses: dict[int, list[Guess]] = field(default_factory=dict)  # at what follows each node


def grow_tree(
    drafters: Sequence[Drafter],
    rates: AcceptanceRates,
    text: Sequence[int],
    *,
    max_nodes: int,
    least_value: float,
) -> Growth:
    """A tree of at most `max_nodes`, all worth `least_value` or more, in descending value."""
    tokens: list[int] = []
    parents: list[int] = []
    values: list[float] = []
    guesses: dict[int, list[Guess]] = {}
    order = count()  # breaks ties: equal values in the order of their making
    heap: list[tuple[float, int, int, int, list[Guess]]] = []

    def expand(node: int, token: int, value: float, states: dict[int, object]) -> None:
        """Put what may follow a node on the heap."""
        by_token: dict[int, list[tuple[int, Guess]]] = {}
        for index, drafter in enumerate(drafters):
            for guess in drafter.guesses(token, states.get(index)):
                by_token.setdefault(guess.token, []).append((index, guess))
        guesses[node] = [guess for same in by_token.values() for _, guess in same]
        chances = {}
        for following, same in by_token.items():
            wrong = 1.0
            for _, guess in same:
                wrong *= 1.0 - rates.rate(guess.kind, guess.prior)
            chances[following] = 1.0 - wrong
        scale = min(1.0, _MOST_CERTAIN / max(sum(chances.values()), _MOST_CERTAIN))
        for following, same in by_token.items():
            worth = value * chances[following] * scale
            if worth >= least_value:
                heapq.heappush(heap, (-worth, next(order), node, following, same))

    expand(ROOT, text[-1], 1.0, {i: each.begin(text) for i, each in enumerate(drafters)})
    while heap and len(tokens) < max_nodes:
        minus_value, _, parent, token, same = heapq.heappop(heap)
        node = len(tokens)
        tokens.append(token)
        parents.append(parent)
        values.append(-minus_value)
        if len(tokens) < max_nodes:
            expand(node, token, -minus_value, {index: guess.state for index, guess in same})
    tree = DraftTree(tokens=tuple(tokens), parents=tuple(parents), values=tuple(values))
    return Growth(tree, guesses)
