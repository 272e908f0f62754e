"""What a costly drafter took and saved lately, and its rests after it saved too little."""

from collections import deque

_TRIAL = 64.0  # tokens that come before a drafter is judged,
_IDLE_TRIAL = 16.0  # or so many, if no guess of its was worth asking for
_MEMORY = 0.995  # of older tokens, at each new one: about the last 200 count
_FIRST_REST = 256  # tokens; each rest is twice as long as the one before
_LONGEST_REST = 8192
_RECENT = 7  # guesses
_PROBE = 64  # times that a guess was declined, before one is asked for to be known anew
_UNSEEN = 0.05  # of a plain step: what having a drafter costs beside the time of its guesses


class Account:
    """Compares steps with what they had been without the drafter.

    First it is expected to save something; after a trial, what it did counts. Judged not to be
    worth it, it rests, and then is tried as if new: its text may be another by then.
    """

    def __init__(self) -> None:
        # Seconds that guesses took beyond their price. The least counts: it is not slow by chance,
        # and of few the median may be of what happens once.
        self._around: deque[float] = deque(maxlen=_RECENT)
        self._declined = 0  # guesses
        self._num_asked = 0  # since the trial began
        self._tokens = self._tokens_without = self._seconds = self._seconds_without = 0.0
        self._rest = 0.0  # tokens that are left of it
        self._last_rest = 0.0  # 0 after a trial that it stood
        self._judged_s: float | None = None  # what a token took less, when it was last judged

    def took(self, price_s: float, seconds: float) -> None:
        """Guesses of this price took so long."""
        self._num_asked += 1
        self._around.append(max(0.0, seconds - price_s))

    def is_worth_asking(self, price_s: float, saved_s: float) -> bool:
        """Whether to ask for guesses of this price that would save so much; now and then anyway."""
        if saved_s > price_s + min(self._around, default=0.0):
            return True
        self._declined += 1
        return self._declined % _PROBE == 0

    def observe(
        self, tokens: int, seconds: float, tokens_without: int, seconds_without: float
    ) -> None:
        """A step brought tokens, of which so many would have come without the drafter.

        seconds, seconds_without : that all took, and would have taken without the drafter
        """
        memory = _MEMORY**tokens
        self._tokens = memory * self._tokens + tokens
        self._seconds = memory * self._seconds + seconds
        self._tokens_without = memory * self._tokens_without + tokens_without
        self._seconds_without = memory * self._seconds_without + seconds_without

    def passed(self, tokens: int) -> None:
        """So many tokens came without the drafter."""
        self._rest = max(0.0, self._rest - tokens)

    @property
    def rests(self) -> bool:
        """Whether the drafter is left out for a while."""
        return self._rest > 0.0

    def is_worth_reading(
        self, cost_s: float, tokens: int, expected_s: float, plain_s: float
    ) -> bool:
        """Whether what it will save is worth so many seconds of reading, and it saves anything.

        Tried, and saving nothing, it rests.

        tokens     : to come
        expected_s : that it saves for each, as long as it was not tried
        plain_s    : that each takes without any drafts
        """
        if self.rests:
            return False
        if self._is_tried:
            return tokens * expected_s > cost_s
        self._judged_s = self.saved_s(plain_s)
        saved_s = self._judged_s - _UNSEEN * plain_s
        if saved_s > 0.0:
            self._last_rest = 0.0
            return tokens * saved_s > cost_s
        self._tokens = self._tokens_without = self._seconds = self._seconds_without = 0.0
        self._num_asked = 0
        self._last_rest = self._rest = min(max(_FIRST_REST, 2 * self._last_rest), _LONGEST_REST)
        return False

    @property
    def _is_tried(self) -> bool:
        return self._tokens < (_TRIAL if self._num_asked else _IDLE_TRIAL)

    def saved_s(self, plain_s: float) -> float:
        """Seconds that each token took less lately; something must have been observed."""
        without_s = self._seconds_without / self._tokens_without
        return min(plain_s, without_s) - self._seconds / self._tokens

    def note(self) -> str:
        """Whether the drafter is asked now, and why."""
        if self._judged_s is None or (self._is_tried and not self.rests):
            return "is being tried"
        saved = f"{1e3 * self._judged_s:.2f} ms a token"
        if self.rests:
            return f"rests for {self._rest:.0f} tokens more: it saved {saved}, too little to go on"
        return f"saves {saved}"
