"""When a request's steps go without drafts."""

_REST_SHARE = 0.005  # of the time, for drafts that are in vain again and again
_LONGEST_RUN = 64  # drafts before a step without one, so that its time stays known


class Pauses:
    """Rests after drafts that were not worth it, longer each time; and now and then one step."""

    def __init__(self) -> None:
        self._left = 0  # steps of the rest under way
        self._vain = 0  # drafts since the last one that was worth a step
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
            self._vain = 0
            self._run += 1
            return
        self._run = 0
        self._left = min(self._vain, int(share / _REST_SHARE))
        self._vain += 1
