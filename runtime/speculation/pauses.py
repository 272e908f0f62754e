"""When a request's steps go without drafts."""

_REST_SHARE = 0.01  # of the time, for drafts that turn out not to be worth a step
_LONGEST_RUN = 64  # drafts before a step without one, so that its time stays known


class Pauses:
    """Rests after drafts that were not worth it, longer each time; and now and then one step."""

    def __init__(self) -> None:
        self._left = 0  # steps of the rest under way
        self._last = 0  # length of the last rest; 0 after a draft that was worth it
        self._run = 0  # drafts since the last step without one

    def now(self) -> bool:
        """Whether the next step goes without a draft."""
        if self._left:
            self._left -= 1
            self._run = 0
            return True
        if self._run == _LONGEST_RUN:
            self._run = 0
            return True
        return False

    def drafted(self, size: int, share: float) -> None:
        """A draft of `size` nodes, 0 if none was worth it, was made in `share` of a plain step."""
        if size:
            self._last = 0
            self._run += 1
            return
        self._run = 0
        self._last = self._left = min(2 * self._last + 1, int(share / _REST_SHARE))
