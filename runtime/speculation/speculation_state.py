"""What the requests of a model learn together about its steps and its drafts."""

from types import ModuleType

from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.recent_median import RecentMedian
from slipstream.runtime.speculation.step_costs import StepCosts
from slipstream.runtime.speculation.tree_growth import Worth

# Rows of a step, with the pending token: few sizes, so that each is soon known and kept prepared,
# and those that kernels cut into the fewest tiles: 3 rows take as long as 4, and 6 longer than 8.
STEP_ROWS = (2, 4, 8, 12, 16, 24, 32)
_LEAST_VALUE = 0.03  # a row, and walking along it, cost more than so much of a step
_TYPICAL_ROWS = 8  # up to which the cost of a row more is taken as one slope
_MEMORY = 0.9  # of what the steps before the newest brought


class SpeculationState:
    """Measured costs and acceptance; the engine's thread alone uses it.

    ops     : of the backend that the target runs on
    rates   : of guesses that came true
    costs   : of the target's steps
    growing : time of growing a tree, without costly drafters
    """

    def __init__(self, ops: ModuleType) -> None:
        self.ops = ops
        self.rates = AcceptanceRates()
        self.costs = StepCosts(STEP_ROWS[-1])
        self.growing = RecentMedian()
        self._tokens = self._seconds = 0.0

    def brought(self, tokens: int, seconds: float) -> None:
        """A step and its draft brought so many tokens and took so long."""
        self._tokens = _MEMORY * self._tokens + tokens
        self._seconds = _MEMORY * self._seconds + seconds

    @property
    def token_s(self) -> float:
        """Seconds that a token takes now; without drafts it never takes longer than a step."""
        plain_s = self.costs.seconds(1)
        return min(plain_s, self._seconds / self._tokens) if self._tokens else plain_s

    def worth(self) -> Worth:
        """What guesses must be worth now."""
        row_s = (self.costs.seconds(_TYPICAL_ROWS) - self.costs.seconds(1)) / (_TYPICAL_ROWS - 1)
        return Worth(least_value=_LEAST_VALUE, token_s=self.token_s, row_s=max(0.0, row_s))
