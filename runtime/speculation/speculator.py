"""Decides, step by step, what is drafted for a request: SmartSpec's goodput on measured costs.

Source: arXiv:2406.14066. Goodput is tokens a second: of all sizes of the tree, none included, the
one with the most expected tokens for the expected time is taken.
"""

import time
from collections.abc import Sequence
from itertools import accumulate
from types import ModuleType

import numpy as np

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.draft_tree import EMPTY, ROOT, DraftTree
from slipstream.runtime.speculation.drafter import Drafter
from slipstream.runtime.speculation.speculation_stats import SpeculationStats
from slipstream.runtime.speculation.step_costs import StepCosts
from slipstream.runtime.speculation.token_recycling import NUM_CANDIDATES
from slipstream.runtime.speculation.tree_growth import Growth, grow_tree

# Rows of a step, with the pending token: few sizes, so that each is soon known and kept prepared.
STEP_ROWS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_LEAST_VALUE = 0.02  # a row costs more than so much of a step
_LONGEST_REST = 16  # steps without drafting after drafts that were not worth it
_NEWEST = 0.1  # weight of a new draft's time in the running mean


class SpeculationState:
    """What all requests of a model learn together; the engine's thread alone uses it."""

    def __init__(self, ops: ModuleType) -> None:
        """ops : of the backend that the target runs on"""
        self.ops = ops
        self.rates = AcceptanceRates()
        self.costs = StepCosts()
        self.draft_s = 0.0  # running mean time of growing a tree


class Speculator:
    """Drafts for one request and learns from what became of the drafts."""

    def __init__(self, drafters: Sequence[Drafter], state: SpeculationState) -> None:
        self._drafters = drafters
        self._state = state
        self._growth: Growth | None = None
        self._rest = self._resting = 0
        self.num_drafted = self.num_accepted = self.num_verified = 0
        self.accepted_by_depth: list[int] = []  # drafts whose accepted path had d + 1 nodes or more

    def draft(self, text: Sequence[int], max_nodes: int) -> DraftTree:
        """The tree to verify in the next step; empty when none is worth its time."""
        self._growth = None
        if max_nodes < 1 or not self._state.costs.known:
            return EMPTY
        if self._resting:
            self._resting -= 1
            return EMPTY
        start = time.perf_counter()
        self._growth = grow_tree(
            self._drafters,
            self._state.rates,
            text,
            max_nodes=min(max_nodes, STEP_ROWS[-1] - 1),
            least_value=_LEAST_VALUE,
        )
        self._state.draft_s += _NEWEST * (time.perf_counter() - start - self._state.draft_s)
        tree = self._growth.tree
        size = self._best_size(tree.values)
        if size:
            self._rest = 0
        else:
            self._rest = min(2 * self._rest + 1, _LONGEST_REST)
            self._resting = self._rest
        self.num_drafted += size
        self.num_verified += size > 0
        return tree.first(size)

    def observe(self, path: Sequence[int], target: Sequence[int]) -> None:
        """The target has verified a draft.

        path   : accepted nodes, from the root down
        target : its tokens after the text and after each node of the path
        """
        self.num_accepted += len(path)
        self.accepted_by_depth += [0] * (len(path) - len(self.accepted_by_depth))
        for depth in range(len(path)):
            self.accepted_by_depth[depth] += 1
        if self._growth is None:
            return
        for node, token in zip([ROOT, *path], target, strict=True):
            for guess in self._growth.guesses.get(node, ()):
                self._state.rates.observe(guess.kind, guess.token == token)

    def learn(self, tokens: Sequence[int], logits: np.ndarray) -> None:
        """What the target expects after each token of a step: logits (M, V)."""
        ids = np.empty((len(tokens), NUM_CANDIDATES), np.int32)
        largest = np.empty(ids.shape, np.float32)
        self._state.ops.top_k(logits, NUM_CANDIDATES, ids=ids, out=largest)
        for drafter in self._drafters:
            drafter.observe(tokens, ids, largest)

    def took(self, num_rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        self._state.costs.observe(num_rows, seconds)

    def stats(self) -> SpeculationStats:
        """For `Completion.stats`."""
        return {
            "drafted_tokens": self.num_drafted,
            "accepted_tokens": self.num_accepted,
            "verified_drafts": self.num_verified,
            "accepted_by_depth": tuple(self.accepted_by_depth),
        }

    def _best_size(self, values: Sequence[float]) -> int:
        costs, draft_s = self._state.costs, self._state.draft_s
        expected = list(accumulate(values, initial=1.0))  # tokens, by the draft's size
        best, best_goodput = 0, 1.0 / costs.seconds(1)
        for rows in STEP_ROWS:
            if rows > len(expected):
                break
            goodput = expected[rows - 1] / (costs.seconds(rows) + draft_s)
            if goodput > best_goodput:
                best, best_goodput = rows - 1, goodput
        return best
