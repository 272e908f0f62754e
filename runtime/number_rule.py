"""What a numeric option may be, and the message a user gets when it is something else."""

import math
import numbers
import reprlib
from dataclasses import dataclass

from slipstream.runtime.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRule:
    """The type and range of one numeric option.

    low, high         : the ends of the range; infinite where there is none
    above_low         : whether `low` itself is outside the range
    below_high        : whether `high` itself is outside the range
    whole             : whether only whole numbers are accepted
    optional          : whether None is accepted
    hint              : what a special value means, for the message
    """

    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    below_high: bool = False
    whole: bool = False
    optional: bool = False
    hint: str = ""

    def check(self, name: str, value: object) -> int | float | None:
        """`value` as a Python int or float; raises OptionError naming `name` and this rule."""
        if value is None and self.optional:
            return None
        number = self._number(value)
        if number is None or not self._holds(number):
            raise OptionError(f"{name} must be {self}, got {describe(value)}")
        return number

    def _number(self, value: object) -> int | float | None:
        return whole_number(value) if self.whole else _finite_number(value)

    def _holds(self, number: int | float) -> bool:
        over_low = number > self.low if self.above_low else number >= self.low
        under_high = number < self.high if self.below_high else number <= self.high
        return over_low and under_high

    def __str__(self) -> str:
        words = ["a whole number" if self.whole else "a finite number"]
        if math.isfinite(self.low):
            words.append(f"above {self.low}" if self.above_low else f"of at least {self.low}")
        if math.isfinite(self.high):
            joint = "and " if math.isfinite(self.low) else ""
            end = f"below {self.high}" if self.below_high else f"at most {self.high}"
            words.append(joint + end)
        if self.optional:
            words.append("or None")
        return " ".join(words) + (f" ({self.hint})" if self.hint else "")


SEED = NumberRule(low=0, high=2**63 - 1, whole=True, optional=True, hint="None is random")


def describe(value: object) -> str:
    """A short text of a user's value for an error message; its type where that is not plain."""
    text = reprlib.repr(value)
    if value is None or isinstance(value, bool | int | float | str):
        return text
    return f"{text} ({type(value).__name__})"


def whole_number(value: object) -> int | None:
    """`value` as a Python int; None for what is no whole number, True and False among it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return None
    return int(value)


def _finite_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
