"""Drafting while the target verifies, by a draft model on a device of its own.

Source: PEARL, arXiv:2408.11850. Its post-verify goes on from the whole draft; here what comes next
is what the next tree will most likely start from, wherever in the draft the target stops accepting.
Its pre-verify is a step without a draft, which is taken where waiting for one does not pay.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.device_thread import DeviceThread
from slipstream.runtime.speculation.draft_ends import DraftEnd, chances_of, ends_of
from slipstream.runtime.speculation.draft_tree import DraftTree
from slipstream.runtime.speculation.drafter import CostlyDrafter, Guess
from slipstream.runtime.speculation.model_drafter import ModelDrafter
from slipstream.runtime.speculation.speculation_stats import SpeculationStats
from slipstream.runtime.speculation.timed_sequence import MOST_TIMED_ROWS

_LEAST_CHANCE = 0.02  # that a text comes to be, for the draft to be asked what follows it
_FARTHEST = 32  # tokens behind a draft: no next one is deeper

_Path = tuple[int, ...]


@dataclass(slots=True)
class _Place:
    """What the draft expects at one end of the text, None if it was not asked; and behind that.

    Both threads add places, and `setdefault` lets one of them win.
    """

    guesses: list[Guess] | None = None
    after: "dict[int, _Place]" = field(default_factory=dict)

    def at(self, path: Sequence[int]) -> "_Place":
        place = self
        for token in path:
            place = place.after.setdefault(token, _Place())
        return place


class DraftAhead(CostlyDrafter):
    """A request's way to the draft model: guesses that are ready cost nothing.

    The device's thread alone asks the model drafter and lets it read; its account is the engine's.
    An error there is the request's, at its next draft.
    """

    name: ClassVar[str] = ModelDrafter.name
    PRIOR: ClassVar[float] = ModelDrafter.PRIOR

    def __init__(self, drafter: ModelDrafter, thread: DeviceThread) -> None:
        super().__init__()
        self.account = drafter.account
        self._drafter = drafter
        self._thread = thread
        self._text: Sequence[int] = ()
        self._length = 0  # of the text when it was last looked at
        self._place = _Place()  # at its end
        self._may_wait = True  # since nothing that follows the text was drafted yet
        self._catching_up: Future[None] | None = None
        self._num_ready = self._num_awaited = 0
        # Written by the device's thread:
        self._agreed = 0  # tokens of the text that the draft holds at least
        self._step_s: float | None = None
        self._failure: Exception | None = None

    @property
    def link_bytes(self) -> int:
        return self._drafter.link_bytes

    def catch_up(
        self, text: Sequence[int], tokens_left: int, step_s: Callable[[int], float]
    ) -> bool:
        """As `CostlyDrafter.catch_up`; the work is done beside the target's steps."""
        if self._failure is not None:
            raise self._failure
        if not self._drafter.is_worth_reading(0, tokens_left, step_s):  # beside the target
            return False
        if len(text) - self._agreed <= MOST_TIMED_ROWS:
            return True
        if self._catching_up is None or self._catching_up.done():
            if self._catching_up is not None:
                self._catching_up.result()  # raises what it met
            self._catching_up = self._thread.submit(self._read_on, text, len(text))
        return False

    def begin(self, text: Sequence[int]) -> None:
        if text is self._text:
            self._place = self._place.at(text[self._length :])
        else:
            self._place = _Place()
        self._text, self._length = text, len(text)
        self._may_wait = self._place.guesses is None

    def price_s(self, path: _Path) -> float | None:
        return self._step_s if self._is_awaited(self._place.at(path[1:])) else 0.0

    def guesses(self, path: _Path, state: None) -> list[Guess]:
        """As `Drafter.guesses`; none where a draft ends that is ready: the rest is made beside it.

        To wait for the rest would gain nothing: while the target verifies what is ready, the draft
        gets as far, and knows sooner where it went wrong.
        """
        place = self._place.at(path[1:])
        if self._is_awaited(place):
            self._num_awaited += 1
            ask = self._thread.submit(self._ask, self._text, self._length, path, place)
            return ask.result()
        self._num_ready += place.guesses is not None
        return place.guesses or []

    def draft_ahead(
        self, tree: DraftTree, values: Sequence[float], max_tokens: int, rates: AcceptanceRates
    ) -> None:
        ends = ends_of(self._text[self._length - 1], tree, values)
        farthest = min(max_tokens + 1, _FARTHEST + max(len(end.path) for end in ends))
        steps = self._steps(self._text, self._length, self._place, ends, farthest, rates)
        self._thread.work_ahead(steps)

    def end(self) -> None:
        self._thread.end_work_ahead()

    def stats(self) -> SpeculationStats:
        return {"ready_guesses": self._num_ready, "awaited_guesses": self._num_awaited}

    def _is_awaited(self, place: _Place) -> bool:
        return self._may_wait and place.guesses is None

    def _read_on(self, text: Sequence[int], length: int) -> None:
        self._drafter.follow(text, length)
        lag = length - self._drafter.agreed
        if lag > MOST_TIMED_ROWS:
            self._drafter.read_on(lag)
        self._agreed = self._drafter.agreed

    def _ask(self, text: Sequence[int], length: int, path: _Path, place: _Place) -> list[Guess]:
        """What follows the first `length` tokens of a text and then a path, which is a place."""
        if place.guesses is None:
            self._drafter.follow(text, length)
            place.guesses = self._drafter.guesses(path, None)
            self._agreed = self._drafter.agreed
            self._step_s = self._drafter.price_s(path)
        return place.guesses

    def _steps(
        self,
        text: Sequence[int],
        length: int,
        start: _Place,
        ends: list[DraftEnd],
        farthest: int,
        rates: AcceptanceRates,
    ) -> Iterator[None]:
        """Ask what follows the likeliest path, again and again; a step for each that is asked.

        farthest : tokens of the longest path, its first included
        """
        order = count()
        heap = [
            (-end.chance, next(order), end.path, end.refused)
            for end in ends
            if end.chance >= _LEAST_CHANCE
        ]
        heapq.heapify(heap)
        try:
            while heap:
                minus_chance, _, path, refused = heapq.heappop(heap)
                place = start.at(path[1:])
                if place.guesses is None:
                    self._ask(text, length, path, place)
                    yield
                for token, rate in chances_of(place.guesses or [], refused, rates):
                    chance = -minus_chance * rate
                    if chance >= _LEAST_CHANCE and len(path) < farthest:
                        heapq.heappush(heap, (-chance, next(order), (*path, token), frozenset()))
        except Exception as error:
            self._failure = error
