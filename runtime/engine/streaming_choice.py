"""Whether a step reads its part of a prompt with streamed weights: where that is the faster way."""

from dataclasses import dataclass

from slipstream.offload.placement.streaming_plan import StepLine, StreamingPlan
from slipstream.runtime.models import LayerStream

_NEWEST_SHARE = 0.5  # of what was measured last in what is expected
_KEPT = 0.9  # of a deviation from the plan, with each step that does not measure it


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """The layers that are streamed, and when that is planned to pay."""

    plan: StreamingPlan
    layers: LayerStream


class _Expected:
    """Seconds of a kind of steps: as planned, times what they took of that lately."""

    def __init__(self, line: StepLine) -> None:
        self._line = line
        self._factor = 1.0

    def seconds(self, rows: int) -> float:
        return self._factor * self._line.seconds(rows)

    def took(self, rows: int, seconds: float) -> None:
        newest = seconds / self._line.seconds(rows)
        self._factor += _NEWEST_SHARE * (newest - self._factor)

    def rested(self) -> None:
        """What was not tried for long is thought to be as planned again, and so tried."""
        self._factor = 1 + _KEPT * (self._factor - 1)


class StreamingChoice:
    """Begins with what was planned, and follows what steps take."""

    def __init__(self, plan: StreamingPlan) -> None:
        self._in_place, self._streamed = _Expected(plan.in_place), _Expected(plan.streamed)

    def pays(self, rows: int) -> bool:
        """Whether a step with so many rows of prompts is to be streamed."""
        return self._streamed.seconds(rows) < self._in_place.seconds(rows)

    def least_rows(self, most_rows: int) -> int | None:
        """The rows from which on it pays; None where it does not for `most_rows`."""
        return next((rows for rows in range(1, most_rows + 1) if self.pays(rows)), None)

    def observe(self, rows: int, seconds: float, *, streamed: bool) -> None:
        """A step of `rows` took `seconds`."""
        taken, other = self._in_place, self._streamed
        if streamed:
            taken, other = other, taken
        taken.took(rows, seconds)
        other.rested()
