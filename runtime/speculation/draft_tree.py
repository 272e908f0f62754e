"""A tree of guesses at what follows a text."""

from dataclasses import dataclass
from functools import cached_property

ROOT = -1  # the parent of nodes that follow the text itself


@dataclass(frozen=True, kw_only=True)
class DraftTree:
    """Nodes in an order in which parents come before their children.

    tokens  : of each node
    parents : node that each follows, or ROOT; siblings have different tokens
    """

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def children(self) -> dict[int, dict[int, int]]:
        """Of each node that has any, and ROOT: its children's nodes by their tokens."""
        found: dict[int, dict[int, int]] = {}
        for node, (token, parent) in enumerate(zip(self.tokens, self.parents, strict=True)):
            found.setdefault(parent, {})[token] = node
        return found


EMPTY = DraftTree()
