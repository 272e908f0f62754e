"""What a caller may ask of sampling, checked once and then frozen."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from slipstream.runtime.errors import OptionError
from slipstream.runtime.number_rule import SEED, NumberRule, describe, whole_number

MAX_LOGPROBS = 20

_RULES: Mapping[str, NumberRule] = {
    "max_tokens": NumberRule(low=1, whole=True, optional=True, hint="None is until the end"),
    "temperature": NumberRule(low=0, hint="0 is greedy"),
    "top_k": NumberRule(low=0, whole=True, hint="0 turns it off"),
    "top_p": NumberRule(low=0, above_low=True, high=1, hint="1 turns it off"),
    "min_p": NumberRule(low=0, high=1, below_high=True, hint="0 turns it off"),
    "typical_p": NumberRule(low=0, above_low=True, high=1, hint="1 turns it off"),
    "repeat_penalty": NumberRule(low=0, above_low=True, hint="1 turns it off"),
    "repeat_last_n": NumberRule(
        low=-1, whole=True, hint="0 turns the penalties off, -1 is the whole context"
    ),
    "presence_penalty": NumberRule(low=-2, high=2, hint="0 turns it off"),
    "frequency_penalty": NumberRule(low=-2, high=2, hint="0 turns it off"),
    "seed": SEED,
    "logprobs": NumberRule(
        low=0,
        high=MAX_LOGPROBS,
        whole=True,
        optional=True,
        hint="0 gives the chosen token's alone, None gives none",
    ),
}
_TOKEN_ID = NumberRule(low=0, whole=True)
_BIAS = NumberRule(hint="or -inf, which bans the token")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How the next token is chosen and when to stop. The defaults are llama.cpp's.

    max_tokens        : most tokens to generate; None is until the model ends or the context is full
    temperature       : divides the logits that the filters left; 0 is greedy
    top_k             : keep the k most likely tokens; 0 is off
    top_p             : keep the most likely tokens up to this probability; 1 is off
    min_p             : keep tokens at least this fraction as likely as the likeliest; 0 is off
    typical_p         : keep the most typical tokens up to this probability; 1 is off
    repeat_penalty    : divides positive logits of recent tokens, multiplies negative ones; 1 is off
    repeat_last_n     : how many recent tokens (prompt included) the three penalties look at;
                        0 is none, -1 the whole context
    presence_penalty  : taken once from the logit of each recent token; 0 is off
    frequency_penalty : taken from the logit as often as the token is among the recent; 0 is off
    logit_bias        : token id -> number added to its logit; -inf bans the token
    stop              : strings and token ids that end the text and are not part of it
    seed              : same seed, same options, same prompt: same text; None is a random seed
    logprobs          : log probabilities wanted: the chosen token's and this many of the likeliest

    Values of convenient types are made canonical: a lone `stop`, a list of them, integers for
    floats, NumPy numbers, and decimal strings as `logit_bias` keys, as JSON objects must have them.
    Raises OptionError.
    """

    max_tokens: int | None = None
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[str | int, ...] = ()
    seed: int | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))
        object.__setattr__(self, "logit_bias", _canonical_bias(self.logit_bias))
        object.__setattr__(self, "stop", _canonical_stop(self.stop))

    @classmethod
    def from_user(cls, /, **options: Any) -> Self:
        """Options from a user's keywords; None leaves an option at its default.

        Raises OptionError for a name that does not exist, suggesting a close one, and for any
        value out of range.
        """
        known = [one.name for one in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                import difflib  # late: only for an error

                close = difflib.get_close_matches(name, known, n=1)
                advice = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
                raise OptionError(f"unknown sampling option {name!r}; {advice}")
        return cls(**{name: value for name, value in options.items() if value is not None})

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def has_penalties(self) -> bool:
        """Whether recent tokens change any logit."""
        penalised = self.repeat_penalty != 1 or self.presence_penalty or self.frequency_penalty
        return bool(penalised) and self.repeat_last_n != 0

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The members of `stop` that are text."""
        return tuple(one for one in self.stop if isinstance(one, str))

    @property
    def stop_ids(self) -> frozenset[int]:
        """The members of `stop` that are token ids."""
        return frozenset(one for one in self.stop if isinstance(one, int))


def _canonical_bias(bias: object) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise OptionError(
            f"logit_bias must map token ids to numbers, as in {{42: -1.5}}, got {describe(bias)}"
        )
    canonical: dict[int, float] = {}
    for key, value in bias.items():
        token_id = _bias_token_id(key)
        if token_id in canonical:
            raise OptionError(f"logit_bias names token {token_id} twice; give it one value")
        canonical[token_id] = _bias_value(token_id, value)
    return canonical


def _bias_token_id(key: object) -> int:
    if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 20:
        return int(key)
    token_id = _TOKEN_ID.check("a key of logit_bias", key)
    assert isinstance(token_id, int)
    return token_id


def _bias_value(token_id: int, value: object) -> float:
    if isinstance(value, float | np.floating) and value == -math.inf:
        return -math.inf
    number = _BIAS.check(f"logit_bias[{token_id}]", value)
    assert number is not None
    return float(number)


def _canonical_stop(stop: object) -> tuple[str | int, ...]:
    members: list[object] = [stop]
    if isinstance(stop, Iterable) and not isinstance(stop, str | bytes | Mapping):
        members = list(stop)
    canonical: dict[str | int, None] = {}
    for member in members:
        token_id = whole_number(member)
        if token_id is not None and token_id >= 0:
            canonical[token_id] = None
        elif isinstance(member, str) and member:
            canonical[member] = None
        else:
            raise OptionError(
                "stop must be a non-empty string, a token id of at least 0, or a sequence of "
                f"these, got {describe(member)}"
            )
    return tuple(canonical)
