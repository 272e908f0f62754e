"""When each resource did what, and what that adds up to."""

from collections.abc import Iterable
from dataclasses import dataclass

from slipstream.offload.simulator.event_queue import Event, Work, run_works

CPU = "cpu"
GPU = "gpu"
TO_GPU = "to gpu"  # the link carries both directions at once
TO_CPU = "to cpu"
RESOURCES = (CPU, GPU, TO_GPU, TO_CPU)
LINK = (TO_GPU, TO_CPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Works, and their events in the order of their beginning."""

    works: tuple[Work, ...]
    events: tuple[Event, ...]

    @classmethod
    def of(cls, works: list[Work]) -> "Timeline":
        """What happens when these works run."""
        return cls(works=tuple(works), events=tuple(run_works(works)))

    @property
    def end_s(self) -> float:
        """When the last event ends; 0 without events."""
        return max((event.end_s for event in self.events), default=0.0)

    def end_of(self, works: Iterable[int]) -> float:
        """When the last of these works ends; 0 for none."""
        wanted = frozenset(works)
        ends = (event.end_s for event in self.events if event.work_id in wanted)
        return max(ends, default=0.0)

    def busy_shares(self, start_s: float, end_s: float) -> dict[str, float]:
        """The share of that time in which each resource has something to do; 0 of no time."""
        busy_s = dict.fromkeys(RESOURCES, 0.0)
        for event in self.events:
            within_s = min(event.end_s, end_s) - max(event.start_s, start_s)
            busy_s[event.resource] += max(within_s, 0.0)
        length_s = end_s - start_s
        return {name: busy / length_s if length_s > 0 else 0.0 for name, busy in busy_s.items()}

    def link_bytes(self, first_work: int = 0) -> int:
        """Bytes that cross the link, either way, for the works from `first_work` on."""
        return sum(work.num_bytes for work in self.works[first_work:])

    def __str__(self) -> str:
        """A line for each event: milliseconds, resource and what it is."""
        return "\n".join(
            f"{1e3 * event.start_s:10.3f} to {1e3 * event.end_s:10.3f} ms  "
            f"{event.resource:6}  {event.what}"
            for event in self.events
        )
