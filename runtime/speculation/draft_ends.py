"""Where the target may stop accepting a draft, and what may come there."""

from collections.abc import Sequence
from typing import NamedTuple

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.draft_tree import ROOT, DraftTree
from slipstream.runtime.speculation.drafter import Guess


class DraftEnd(NamedTuple):
    """A place in a draft at which the target goes on with a token of its own.

    path    : from the text's last token down
    chance  : that it is there
    refused : drafted tokens that its own then is not
    """

    path: tuple[int, ...]
    chance: float
    refused: frozenset[int]


def ends_of(last: int, tree: DraftTree, values: Sequence[float]) -> list[DraftEnd]:
    """The text's end and each node; the chances add up to 1.

    last   : token of the text
    values : of the nodes: the chance of each that it is accepted
    """
    paths: list[tuple[int, ...]] = [(last,)]
    chances = [1.0]
    for token, parent, value in zip(tree.tokens, tree.parents, values, strict=True):
        paths.append((*paths[parent + 1], token))
        chances.append(value)
        chances[parent + 1] -= value
    return [
        DraftEnd(path, chance, frozenset(tree.children.get(row + ROOT, ())))
        for row, (path, chance) in enumerate(zip(paths, chances, strict=True))
    ]


def chances_of(
    guesses: list[Guess], refused: frozenset[int], rates: AcceptanceRates
) -> list[tuple[int, float]]:
    """Tokens of the guesses that were not refused, each with its chance now that others were."""
    chances = {guess.token: rates.rate(guess.kind, guess.prior) for guess in guesses}
    left = 1.0 - sum(chances.pop(token, 0.0) for token in refused)
    scale = max(left, sum(chances.values()))
    return [(token, chance / scale) for token, chance in chances.items() if chance > 0.0]
