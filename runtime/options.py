"""What a user asks of a model, checked before anything is loaded."""

from dataclasses import dataclass

from slipstream.runtime.errors import OptionError
from slipstream.runtime.number_rule import SEED, NumberRule
from slipstream.runtime.speculation import (
    ACCEPTANCES,
    DOVETAIL,
    MATCH,
    MODEL,
    drafter_names,
    drafter_of,
)

# By the names that users know them by. q8_0 takes 53 % of the bytes of f16, q4_0 28 %.
KV_DTYPES = {"f16": "float16", "q8_0": "int8", "q4_0": "int4"}
DEFAULT_KV = "f16"

_RULES = {
    "threads": NumberRule(low=1, whole=True, optional=True),
    "context": NumberRule(low=1, whole=True, optional=True),
    "vram_bytes": NumberRule(low=0, whole=True, optional=True),
    "seed": SEED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `LLM`. None means "decide for me"; the plan says what was decided and why."""

    threads: int | None = None
    context: int | None = None  # tokens
    kv: str = "auto"
    speculate: str = "auto"
    draft: str | None = None
    acceptance: str = MATCH
    vram_bytes: int | None = None  # at most; None and 0 leave the GPU alone
    strict: bool = False  # a plan that can't be carried out is an error
    seed: int | None = None

    def __post_init__(self) -> None:
        """Raises OptionError for a value that can't be met."""
        for name, rule in _RULES.items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))
        for name in ("kv", "speculate", "draft", "acceptance"):
            value = getattr(self, name)
            if not (isinstance(value, str) or (name == "draft" and value is None)):
                raise OptionError(f"{name} must be a text, got {value!r}")
        if self.kv != "auto" and self.kv not in KV_DTYPES:
            raise OptionError(
                f"kv: expected one of auto, {', '.join(KV_DTYPES)}, how keys and values are "
                f"stored; got {self.kv!r}"
            )
        self._check_drafters()
        self._check_acceptance()
        if not isinstance(self.strict, bool):
            raise OptionError(f"strict must be True or False, got {self.strict!r}")

    def _check_drafters(self) -> None:
        names = drafter_names(self.speculate)
        user = None if self.draft in (None, "auto") else drafter_of(str(self.draft))
        if user is not None and user not in names:
            raise OptionError(
                f"draft: {self.draft} would not be used with speculate={self.speculate!r}; leave "
                f"out one of them, or add {user} to the drafters"
            )
        if self.speculate == "auto":
            return
        if MODEL in names and (self.draft is None or user == DOVETAIL):
            raise OptionError(
                f"speculate: the drafter {MODEL!r} needs a model: name one as draft, or give "
                "draft='auto'"
            )
        if DOVETAIL in names and user != DOVETAIL:
            raise OptionError(
                f"speculate: the drafter {DOVETAIL!r} needs a draft that was trained for the "
                "model: name its .safetensors file as draft"
            )

    def _check_acceptance(self) -> None:
        if self.acceptance not in ACCEPTANCES:
            raise OptionError(
                f"acceptance: expected one of {', '.join(ACCEPTANCES)}, got {self.acceptance!r}"
            )
        if self.acceptance == MATCH:
            return
        names = drafter_names(self.speculate)
        if self.draft is None or drafter_of(self.draft) != MODEL or MODEL not in names:
            raise OptionError(
                f"acceptance: {self.acceptance} is for tokens that a draft model draws, but draft="
                f"{self.draft!r} with speculate={self.speculate!r} has none; name one as draft, or "
                "leave it out"
            )
