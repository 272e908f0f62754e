"""What is asked of a placement: room for how many tokens, and for what kind of requests."""

from dataclasses import dataclass

from slipstream.offload.errors import PlanOptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementOptions:
    """What is asked of a plan. Raises PlanOptionError for numbers that no machine could meet.

    `prompt_tokens` and `answer_tokens` say what a usual request is, for weighing prefill against
    decode; `draft_acceptance` is the chance that the target agrees with one drafted token.
    """

    context: int  # tokens that the KV cache has room for
    vram_bytes: int | None = None  # at most; None is all that the GPU has
    prompt_tokens: int = 512
    answer_tokens: int = 256
    draft_acceptance: float = 0.6
    draft_depth: int = 4  # tokens drafted in a round
    keeps_draft: bool = False  # a draft has its place also where it is predicted not to pay

    def __post_init__(self) -> None:
        for name, value, least in (
            ("context", self.context, 1),
            ("prompt_tokens", self.prompt_tokens, 0),
            ("answer_tokens", self.answer_tokens, 1),
            ("draft_depth", self.draft_depth, 1),
        ):
            if value < least:
                raise PlanOptionError(f"{name} must be at least {least}; got {value:,}.")
        if not 0 <= self.draft_acceptance <= 1:
            raise PlanOptionError(
                f"draft_acceptance must be between 0 and 1; got {self.draft_acceptance}."
            )

    @property
    def held_tokens(self) -> int:
        """Tokens in the cache halfway through the answer."""
        return min(self.context, self.prompt_tokens + self.answer_tokens // 2)
