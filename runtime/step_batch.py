"""The one input of every forward: decode, prefill chunk, token tree, several conversations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """M new rows to run through the model in one go.

    tokens    : (M,) int32
    positions : (M,) int32, of each row in its sequence; a tree's siblings share one
    slots     : (M,) int32, the KV cache's sequence of each row; rows of one stand together
    ancestors : (M, M) bool, [m, n] when row m sees row n: itself and its ancestors, n <= m
    wanted    : (W,) int32, rows whose logits are computed, ascending
    keeps_all : whether the hidden states of all rows are computed, not of the wanted ones alone
    hidden    : (M, C) float32, hidden states that a model begins with beside the tokens
    """

    tokens: np.ndarray
    positions: np.ndarray
    slots: np.ndarray
    ancestors: np.ndarray
    wanted: np.ndarray
    keeps_all: bool = False
    hidden: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Raises ValueError when the arrays do not describe a step."""
        problem = next(self._problems(), None)
        if problem is not None:
            raise ValueError(f"StepBatch: {problem}")

    def _problems(self) -> Iterator[str]:
        """What is wrong; each look relies on those before it having found nothing."""
        num_rows = len(self.tokens)
        if num_rows == 0:
            yield "no rows"
        if not self.positions.shape == self.slots.shape == self.tokens.shape == (num_rows,):
            yield "positions or slots of another length"
        if self.ancestors.shape != (num_rows, num_rows):
            yield "ancestors of another shape"
        if not self.ancestors.diagonal().all():
            yield "a row that does not see itself"
        if num_rows > 1:
            if (self.ancestors & ~np.tril(self.slots[:, None] == self.slots[None, :])).any():
                yield "a row that sees a later one or another sequence"
            if np.count_nonzero(np.diff(self.slots)) + 1 != len(set(self.slots.tolist())):
                yield "rows of one sequence apart"
        if len(self.wanted) > 1 and (np.diff(self.wanted) <= 0).any():
            yield "wanted rows not in ascending order"
        if len(self.wanted) and not (self.wanted[0] >= 0 and self.wanted[-1] < num_rows):
            yield "wanted rows out of range"
        if self.hidden is not None and self.hidden.shape[:1] != (num_rows,):
            yield "hidden states of another number of rows"

    @classmethod
    def linear(
        cls,
        runs: Sequence[tuple[int, int, Sequence[int]]],
        wanted: Sequence[int],
        *,
        keeps_all: bool = False,
        hidden: np.ndarray | None = None,
    ) -> "StepBatch":
        """Plain runs of tokens, one for each sequence: (slot, first position, tokens)."""
        lengths = [len(tokens) for _, _, tokens in runs]
        slots = np.repeat(np.array([slot for slot, _, _ in runs], np.int32), lengths)
        return cls(
            tokens=np.array([token for _, _, tokens in runs for token in tokens], np.int32),
            positions=np.array(
                [start + i for _, start, tokens in runs for i in range(len(tokens))], np.int32
            ),
            slots=slots,
            ancestors=np.tri(len(slots), dtype=np.bool_) & (slots[:, None] == slots),
            wanted=np.asarray(wanted, np.int32),
            keeps_all=keeps_all,
            hidden=hidden,
        )

    @classmethod
    def tree(
        cls,
        slot: int,
        past: int,
        tokens: Sequence[int],
        parents: Sequence[int],
        *,
        keeps_all: bool = False,
    ) -> "StepBatch":
        """A token tree on one sequence of `past` tokens; parents[i] < i, -1 for a root's parent.

        The logits of every node are wanted.
        """
        num_rows = len(tokens)
        if len(parents) != num_rows:
            raise ValueError(f"StepBatch: {num_rows} nodes, but {len(parents)} have a parent")
        ancestors = np.eye(num_rows, dtype=bool)
        depths = np.zeros(num_rows, np.int32)
        for node, parent in enumerate(parents):
            if not -1 <= parent < node:
                raise ValueError(f"StepBatch: parent of node {node} is {parent}")
            if parent >= 0:
                ancestors[node] |= ancestors[parent]
                depths[node] = depths[parent] + 1
        return cls(
            tokens=np.asarray(tokens, np.int32),
            positions=past + depths,
            slots=np.full(num_rows, slot, np.int32),
            ancestors=ancestors,
            wanted=np.arange(num_rows, dtype=np.int32),
            keeps_all=keeps_all,
        )
