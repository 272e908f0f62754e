"""Decides, step by step, what is drafted for a request: SmartSpec's goodput on measured costs.

Source: arXiv:2406.14066. Goodput is tokens a second: of all sizes of the tree, none included, the
one with the most expected tokens for the expected time is taken.
"""

import time
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.draft_tree import EMPTY, ROOT, DraftTree
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter
from slipstream.runtime.speculation.pauses import Pauses
from slipstream.runtime.speculation.speculation_stats import SpeculationStats
from slipstream.runtime.speculation.step_costs import StepCosts
from slipstream.runtime.speculation.token_recycling import NUM_CANDIDATES
from slipstream.runtime.speculation.tree_growth import TreeGrowth, Worth, first_of

# Rows of a step, with the pending token: few sizes, so that each is soon known and kept prepared,
# and those that kernels cut into the fewest tiles: 3 rows take as long as 4, and 6 longer than 8.
STEP_ROWS = (2, 4, 8, 12, 16, 24, 32)
_LEAST_VALUE = 0.02  # a row costs more than so much of a step
_TYPICAL_ROWS = 8  # up to which the cost of a row more is taken as one slope
_MEMORY = 0.9  # of what the steps before the newest brought
_NEWEST = 0.1  # weight of a new draft's time in the running mean


class SpeculationState:
    """What all requests of a model learn together; the engine's thread alone uses it.

    draft_s : running mean time of growing a tree, without costly drafters
    """

    def __init__(self, ops: ModuleType) -> None:
        """ops : of the backend that the target runs on"""
        self.ops = ops
        self.rates = AcceptanceRates()
        self.costs = StepCosts(STEP_ROWS[-1])
        self.draft_s = 0.0
        self._tokens = self._seconds = 0.0

    def brought(self, tokens: int, seconds: float) -> None:
        """A step and its draft brought so many tokens and took so long."""
        self._tokens = _MEMORY * self._tokens + tokens
        self._seconds = _MEMORY * self._seconds + seconds

    @property
    def token_s(self) -> float:
        """Seconds that a token takes now; without drafts it never takes longer than a step."""
        plain_s = self.costs.seconds(1)
        return min(plain_s, self._seconds / self._tokens) if self._tokens else plain_s


class Speculator:
    """Drafts for one request and learns from what became of the drafts."""

    def __init__(self, drafters: Sequence[Drafter], state: SpeculationState) -> None:
        """drafters : the costly ones last"""
        self._drafters = drafters
        self._hidden_takers = [each for each in drafters if each.wants_hidden]
        self._state = state
        self._pauses = Pauses()
        # Of the step under way, when it is this request's alone:
        self._growth: TreeGrowth | None = None
        self._draft_s = 0.0
        self._step_s: float | None = None
        self.num_drafted = self.num_accepted = self.num_verified = 0
        self.accepted_by_depth: list[int] = []  # drafts whose accepted path had d + 1 nodes or more

    def draft(self, text: Sequence[int], max_nodes: int) -> DraftTree:
        """The tree to verify in the next step; empty when none is worth its time.

        text : token ids so far
        """
        state = self._state
        if max_nodes < 1 or not state.costs.known or self._pauses.now():
            return EMPTY
        start = time.perf_counter()
        drafters = [each for each in self._drafters if self._is_ready(each, text, max_nodes)]
        ready = time.perf_counter()
        growth = self._growth = TreeGrowth(drafters, state.rates, text, self._worth())
        size = self._best_size(growth, min(max_nodes, STEP_ROWS[-1] - 1))
        end = time.perf_counter()
        self._draft_s = end - start
        state.draft_s += _NEWEST * (end - ready - growth.costly_s - state.draft_s)
        self._pauses.drafted(size, state.draft_s / state.costs.seconds(1))
        self.num_drafted += size
        self.num_verified += size > 0
        tree = growth.tree(size)
        for drafter in drafters:
            if isinstance(drafter, CostlyDrafter):
                drafter.draft_ahead(tree, growth.values[:size], max_nodes, state.rates)
        return tree

    def took(self, num_rows: int, seconds: float) -> None:
        """A step of so many rows, this request's alone, took so long."""
        self._step_s = seconds
        self._state.costs.observe(num_rows, seconds)

    def observe(self, path: Sequence[int], target: Sequence[int]) -> None:
        """The target has sampled: along a draft, if one was verified.

        path   : accepted nodes, from the root down
        target : its tokens after the text and after each node of the path
        """
        self.num_accepted += len(path)
        self.accepted_by_depth += [0] * (len(path) - len(self.accepted_by_depth))
        for depth in range(len(path)):
            self.accepted_by_depth[depth] += 1
        if self._step_s is not None:
            self._state.brought(len(target), self._draft_s + self._step_s)
        if self._growth is not None:
            self._count_guesses(self._growth, path, target)
        self._count_savings(path)
        self._growth, self._draft_s, self._step_s = None, 0.0, None

    def learn(self, tokens: Sequence[int], logits: np.ndarray) -> None:
        """What the target expects after each token of a step: logits (M, V)."""
        if logits.shape[1] < NUM_CANDIDATES:
            return
        ids = np.empty((len(tokens), NUM_CANDIDATES), np.int32)
        largest = np.empty(ids.shape, np.float32)
        self._state.ops.top_k(logits, NUM_CANDIDATES, ids=ids, out=largest)
        for drafter in self._drafters:
            drafter.observe(tokens, ids, largest)

    @property
    def wants_hidden(self) -> bool:
        return bool(self._hidden_takers)

    def observe_hidden(self, text: Sequence[int], start: int, hidden: np.ndarray) -> None:
        """As `Drafter.observe_hidden`."""
        for drafter in self._hidden_takers:
            drafter.observe_hidden(text, start, hidden)

    def stats(self) -> SpeculationStats:
        """For `Completion.stats`."""
        stats: SpeculationStats = {
            "drafted_tokens": self.num_drafted,
            "accepted_tokens": self.num_accepted,
            "verified_drafts": self.num_verified,
            "accepted_by_depth": tuple(self.accepted_by_depth),
        }
        for drafter in self._drafters:
            stats |= drafter.stats()
        return stats

    def end(self) -> None:
        """The request is over."""
        for drafter in self._drafters:
            drafter.end()

    def _count_guesses(
        self, growth: TreeGrowth, path: Sequence[int], target: Sequence[int]
    ) -> None:
        rates = self._state.rates
        for node, token in zip([ROOT, *path], target, strict=True):
            for guess in growth.guesses.get(node, ()):
                rates.observe(guess.kind, guess.prior, guess.token == token)
            for drafter, guess in growth.firsts.get(node, ()):
                rates.observe(first_of(drafter), drafter.PRIOR, guess.token == token)

    def _count_savings(self, path: Sequence[int]) -> None:
        growth, num_tokens = self._growth, len(path) + 1
        for drafter in self._drafters:
            if not isinstance(drafter, CostlyDrafter):
                continue
            if self._step_s is None or growth is None or drafter not in growth.drafters:
                drafter.savings.passed(num_tokens)
                continue
            # Without it the draft had been right up to its first guess on the path.
            own = next((depth for depth, node in enumerate(path) if node in growth.extra), None)
            extra = 0 if own is None else len(path) - own
            seconds = self._draft_s + self._step_s
            drafter.savings.observe(num_tokens, extra, seconds, growth.costly_s)

    def _worth(self) -> Worth:
        costs = self._state.costs
        row_s = (costs.seconds(_TYPICAL_ROWS) - costs.seconds(1)) / (_TYPICAL_ROWS - 1)
        return Worth(least_value=_LEAST_VALUE, token_s=self._state.token_s, row_s=max(0.0, row_s))

    def _is_ready(self, drafter: Drafter, text: Sequence[int], tokens_left: int) -> bool:
        if not isinstance(drafter, CostlyDrafter):
            return True
        rate = self._state.rates.rate(first_of(drafter), drafter.PRIOR)
        return drafter.catch_up(text, tokens_left, rate, self._state.costs.seconds)

    def _best_size(self, growth: TreeGrowth, max_nodes: int) -> int:
        """Nodes with the best goodput; grows no further than that can become better."""
        seconds, cheap_s = self._state.costs.seconds, self._state.draft_s
        # Unknown sizes are tried step by step: nothing says yet that they do not cost far more.
        most_rows = min(max_nodes + 1, 2 * self._state.costs.largest_known)
        expected = {1: 1.0}  # tokens, by rows

        def goodput(rows: int, tokens: float) -> float:
            # What costly drafters took is spent either way; cheap ones rest where none is best.
            spent_s = growth.costly_s + (cheap_s if rows > 1 else 0.0)
            return tokens / (seconds(rows) + spent_s)

        for index, rows in enumerate(STEP_ROWS):
            grown = len(growth.values)
            if rows > most_rows or not growth.grow(rows - 1):
                break  # nodes beyond the last size are not verified
            last = max(expected)
            expected[rows] = expected[last] + sum(growth.values[grown:])
            best = max(goodput(*each) for each in expected.items())
            # Values descend: larger trees bring at most the last value for each node more.
            most = expected[rows], growth.values[-1]
            if all(
                goodput(larger, most[0] + (larger - rows) * most[1]) <= best
                for larger in STEP_ROWS[index + 1 :]
            ):
                break
        return max(expected, key=lambda rows: goodput(rows, expected[rows])) - 1
