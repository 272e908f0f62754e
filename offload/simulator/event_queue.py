"""Works that wait for each other and for resources: when does each begin and end?

A discrete-event simulation. A resource does one work at a time: of those that wait for it the one
of least rank, and of these the one that was ready first. A work of less rank interrupts one of
more, which goes on afterwards with what is left, as kernels of a GPU's stream of high priority go
before those of others. Nothing is random, so the same works always give the same events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something that occupies a resource for a while, once other works have ended."""

    resource: str
    what: str
    seconds: float
    after: tuple[int, ...] = ()  # places of earlier works in the list
    num_bytes: int = 0  # that a copy moves
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A time in which a resource did a work: all of it, or a part of one that was interrupted."""

    work_id: int  # its place in the list of works
    resource: str
    what: str
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it occupied its resource."""
        return self.end_s - self.start_s


def run_works(works: Sequence[Work]) -> list[Event]:
    """Events of all works, in the order of their beginning, the first at 0 seconds.

    Raises ValueError for a work that waits for itself or a later one, or takes less than no time.
    """
    run = _Run(works)
    while run.begin():
        run.advance()
    return sorted(run.events, key=lambda event: (event.start_s, event.end_s, event.work_id))


class _Run:
    """Where all works are at a moment."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.events: list[Event] = []
        self._works = works
        self._now_s = 0.0
        self._followers = _followers(works)
        self._num_awaited = [len(work.after) for work in works]
        self._left_s = [work.seconds for work in works]
        self._ready_s = [0.0] * len(works)
        self._start_s = [0.0] * len(works)  # since the last interruption
        self._running: dict[str, int] = {}  # a resource's work
        self._ends: list[tuple[float, int]] = []  # of works that run or were interrupted: a heap
        # Of each resource what is ready, as (rank, since when, which): a heap.
        self._queues: dict[str, list[tuple[int, float, int]]] = {
            work.resource: [] for work in works
        }
        for work_id, work in enumerate(works):
            if not work.after:
                self._enqueue(work_id)

    def begin(self) -> bool:
        """Gives each resource the work that is next; whether anything runs."""
        for resource, queue in self._queues.items():
            running = self._running.get(resource)
            if not queue or (running is not None and queue[0][0] >= self._works[running].rank):
                continue
            if running is not None:
                self._stop(running)
                self._enqueue(running)
            work_id = heappop(queue)[-1]
            self._running[resource] = work_id
            self._start_s[work_id] = self._now_s
            heappush(self._ends, (self._now_s + self._left_s[work_id], work_id))
        return bool(self._running)

    def advance(self) -> None:
        """Goes to the next moment at which works end, and makes ready what waited for them."""
        self._now_s = self._next_end_s()
        while self._ends and self._next_end_s() == self._now_s:
            ended = heappop(self._ends)[1]
            self._stop(ended)
            for follower in self._followers[ended]:
                self._num_awaited[follower] -= 1
                if self._num_awaited[follower] == 0:
                    self._ready_s[follower] = self._now_s
                    self._enqueue(follower)

    def _next_end_s(self) -> float:
        """The next end of a work that runs; infinite where none does."""
        while self._ends:
            end_s, work_id = self._ends[0]
            runs = self._running.get(self._works[work_id].resource) == work_id
            if runs and end_s == self._start_s[work_id] + self._left_s[work_id]:
                return end_s
            heappop(self._ends)  # it was interrupted
        return float("inf")

    def _enqueue(self, work_id: int) -> None:
        work = self._works[work_id]
        heappush(self._queues[work.resource], (work.rank, self._ready_s[work_id], work_id))

    def _stop(self, work_id: int) -> None:
        """Takes a work off its resource, and notes what was done of it."""
        work, start_s = self._works[work_id], self._start_s[work_id]
        del self._running[work.resource]
        if self._now_s == start_s and self._left_s[work_id] > 0:
            return
        self._left_s[work_id] = max(start_s + self._left_s[work_id] - self._now_s, 0.0)
        self.events.append(
            Event(
                work_id=work_id,
                resource=work.resource,
                what=work.what,
                start_s=start_s,
                end_s=self._now_s,
            )
        )


def _followers(works: Sequence[Work]) -> list[list[int]]:
    """For each work those that wait for it."""
    followers: list[list[int]] = [[] for _ in works]
    for work_id, work in enumerate(works):
        if not work.seconds >= 0:
            raise ValueError(f"{work.what!r} takes {work.seconds} seconds")
        for awaited in work.after:
            if not 0 <= awaited < work_id:
                raise ValueError(f"{work.what!r} is work {work_id} and waits for {awaited}")
            followers[awaited].append(work_id)
    return followers
