"""Decides, step by step, what is drafted for a request, and learns from what became of it."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from slipstream.runtime.speculation.draft_tree import EMPTY, ROOT, DraftTree
from slipstream.runtime.speculation.drafter import NUM_LIKELIEST, CostlyDrafter, Drafter
from slipstream.runtime.speculation.goodput import best_size
from slipstream.runtime.speculation.pauses import Pauses
from slipstream.runtime.speculation.speculation_state import STEP_ROWS, SpeculationState
from slipstream.runtime.speculation.speculation_stats import SpeculationStats
from slipstream.runtime.speculation.tree_growth import TreeGrowth, first_of


class _Drafted(NamedTuple):
    """A draft that is being verified.

    size      : nodes of the tree that are, 0 if none
    getting_s : seconds until the drafters were ready
    growing_s : and then until the tree was
    """

    growth: TreeGrowth
    size: int
    getting_s: float
    growing_s: float


class Speculator:
    """Drafts for one request and learns from what became of the drafts."""

    def __init__(self, drafters: Sequence[Drafter], state: SpeculationState) -> None:
        """drafters : at most one of them costly, the last"""
        self._drafters = drafters
        self._costly = next((each for each in drafters if isinstance(each, CostlyDrafter)), None)
        self._learners = [each for each in drafters if each.wants_likeliest]
        self._state = state
        self._pauses = Pauses()
        # Of the step under way, when it is this request's alone:
        self._drafted: _Drafted | None = None
        self._step_s: float | None = None
        self.num_drafted = self.num_accepted = self.num_verified = 0
        self.accepted_by_depth: list[int] = []  # drafts whose accepted path had d + 1 nodes or more
        self._accepted_by = Counter[str]()  # names of drafters
        self._link_bytes = 0 if self._costly is None else self._costly.link_bytes  # before

    def draft(self, text: Sequence[int], max_nodes: int) -> DraftTree:
        """The tree to verify in the next step; empty when none is worth its time.

        text : token ids so far
        """
        state = self._state
        if max_nodes < 1 or not state.costs.known or self._pauses.now():
            return EMPTY
        start = time.perf_counter()
        drafters = [each for each in self._drafters if self._is_ready(each, text, max_nodes)]
        if not drafters:
            return EMPTY
        ready = time.perf_counter()
        growth = TreeGrowth(drafters, state.rates, text, state.worth())
        size = best_size(growth, state, min(max_nodes, STEP_ROWS[-1] - 1))
        end = time.perf_counter()
        self._drafted = _Drafted(growth, size, ready - start, end - ready)
        state.growing.add(end - ready - growth.costly_s)
        self._pauses.drafted(size, state.growing.value / state.costs.seconds(1))
        self.num_drafted += size
        self.num_verified += size > 0
        tree = growth.tree(size)
        if self._costly is not None and self._costly in drafters:
            self._costly.draft_ahead(tree, growth.values[:size], max_nodes, state.rates)
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
        drafted, step_s = self._drafted, self._step_s
        if step_s is not None:
            spent_s = step_s if drafted is None else step_s + drafted.getting_s + drafted.growing_s
            self._state.brought(len(target), spent_s)
        if drafted is not None:
            self._count_guesses(drafted.growth, path, target)
            self._accepted_by.update(drafted.growth.namers[node].name for node in path)
        self._keep_account(drafted, step_s, path)
        self._drafted = self._step_s = None

    def learn(self, tokens: Sequence[int], logits: np.ndarray) -> None:
        """What the target expects after each token of a step: logits (M, V)."""
        if not self._learners or logits.shape[1] < NUM_LIKELIEST:
            return
        ids = np.empty((len(tokens), NUM_LIKELIEST), np.int32)
        largest = np.empty(ids.shape, np.float32)
        self._state.ops.top_k(logits, NUM_LIKELIEST, ids=ids, out=largest)
        for drafter in self._learners:
            drafter.observe(tokens, ids, largest)

    @property
    def wants_hidden(self) -> bool:
        return any(each.wants_hidden for each in self._drafters)

    def observe_hidden(self, text: Sequence[int], start: int, hidden: np.ndarray) -> None:
        """As `Drafter.observe_hidden`."""
        for drafter in self._drafters:
            drafter.observe_hidden(text, start, hidden)

    @property
    def link_bytes(self) -> int:
        """Copied since between the host and the device of a draft, for whichever request."""
        return 0 if self._costly is None else self._costly.link_bytes - self._link_bytes

    def stats(self) -> SpeculationStats:
        """For `Completion.stats`."""
        stats: SpeculationStats = {
            "drafted_tokens": self.num_drafted,
            "accepted_tokens": self.num_accepted,
            "verified_drafts": self.num_verified,
            "accepted_by_depth": tuple(self.accepted_by_depth),
            "accepted_by_drafter": dict(self._accepted_by),
        }
        if self._costly is not None:
            stats["draft_note"] = self._costly.account.note()
        for drafter in self._drafters:
            stats |= drafter.stats()
        return stats

    def end(self) -> None:
        """The request is over."""
        for drafter in self._drafters:
            drafter.end()

    def _is_ready(self, drafter: Drafter, text: Sequence[int], tokens_left: int) -> bool:
        if not isinstance(drafter, CostlyDrafter):
            return True
        return drafter.catch_up(text, tokens_left, self._state.costs.seconds)

    def _count_guesses(
        self, growth: TreeGrowth, path: Sequence[int], target: Sequence[int]
    ) -> None:
        rates = self._state.rates
        for node, token in zip([ROOT, *path], target, strict=True):
            for guess in growth.guesses.get(node, ()):
                rates.observe(guess.kind, guess.prior, guess.token == token)
            first = growth.firsts.get(node)
            if first is not None and self._costly is not None:
                rates.observe(first_of(self._costly), self._costly.PRIOR, first.token == token)

    def _keep_account(
        self, drafted: _Drafted | None, step_s: float | None, path: Sequence[int]
    ) -> None:
        """Tell the costly drafter's account what the step brought, with it and as if without."""
        costly, num_tokens = self._costly, len(path) + 1
        if costly is None:
            return
        if drafted is None or step_s is None or costly not in drafted.growth.drafters:
            costly.account.passed(num_tokens)
            return
        without = drafted.growth.without(costly, drafted.size, path)
        seconds, row_times = step_s + drafted.growing_s, self._state.costs.seconds
        rows_s = row_times(drafted.size + 1) - row_times(without.num_nodes + 1)
        costly.account.observe(
            tokens=num_tokens,
            seconds=seconds,
            tokens_without=without.num_tokens,
            seconds_without=seconds - drafted.growth.costly_s - rows_s,
        )
