"""Finding stop strings in text that arrives in pieces."""

from collections.abc import Sequence

from slipstream.runtime.errors import OptionError


class StopMatcher:
    """Passes text through up to the first stop string, and holds back only what might begin one.

    First is the stop string that is complete first, reading character by character; of several
    that are complete at the same character, the longest. How the text is cut into pieces changes
    nothing of what is emitted before the stop.

    matched : the stop string that was found, or None
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Watches for any of `stops`; raises OptionError for an empty string."""
        if "" in stops:
            raise OptionError("a stop string must have at least one character, got ''")
        self.matched: str | None = None
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def push(self, text: str) -> str:
        """Takes the next piece; returns the text that is safe to emit, "" after a match."""
        if self.matched is not None:
            return ""
        pending = self._held + text
        found = [
            (start + len(stop), start, stop)
            for stop in self._stops
            if (start := pending.find(stop)) >= 0
        ]
        if found:
            _, start, self.matched = min(found)
            self._held = ""
            return pending[:start]
        keep = self._beginning_of_a_stop(pending)
        self._held = pending[keep:]
        return pending[:keep]

    def flush(self) -> str:
        """The text still held back, once no more can come to complete a stop string."""
        held, self._held = self._held, ""
        return held

    def _beginning_of_a_stop(self, pending: str) -> int:
        """Where the longest tail of `pending` starts that some stop string starts with."""
        for start in range(max(0, len(pending) - self._longest + 1), len(pending)):
            tail = pending[start:]
            if any(stop.startswith(tail) for stop in self._stops):
                return start
        return len(pending)
