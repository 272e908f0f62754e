"""What a costly drafter has saved lately, for the decision whether to have it ready."""

_PRIOR_TOKENS = 64.0  # that an estimate made before counts as
_MEMORY = 0.995  # of older tokens, at each new one: about the last 200 count


class Savings:
    """Compares steps with what they had brought without the drafter; forgets slowly, asked or not.

    So a drafter that did not pay is left out for a while, and then tried again.
    """

    def __init__(self) -> None:
        self._tokens = self._others = self._seconds = self._costly_s = 0.0

    def observe(self, tokens: int, extra: int, seconds: float, costly_s: float) -> None:
        """A step brought tokens, of which `extra` would not have come without the drafter.

        seconds, costly_s : that all took, and the drafter's share of that
        """
        self.passed(tokens)
        self._tokens += tokens
        self._others += tokens - extra
        self._seconds += seconds
        self._costly_s += costly_s

    def passed(self, tokens: int) -> None:
        """So many tokens came without the drafter."""
        memory = _MEMORY**tokens
        self._tokens *= memory
        self._others *= memory
        self._seconds *= memory
        self._costly_s *= memory

    def for_each_token_s(self, prior_s: float, plain_s: float) -> float:
        """Seconds that a token is expected to take less.

        prior_s : so much, before anything was seen
        plain_s : a token takes without any drafts
        """
        if not self._tokens:
            return prior_s
        without_s = (self._seconds - self._costly_s) / self._others
        saved_s = min(plain_s, without_s) - self._seconds / self._tokens
        share = self._tokens / (self._tokens + _PRIOR_TOKENS)
        return share * saved_s + (1.0 - share) * prior_s
