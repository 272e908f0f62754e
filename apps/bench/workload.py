"""What is measured, and how often."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is measured: tokens of the prompt, tokens decoded after the first, runs that count."""

    prefill_tokens: int = 512
    decode_tokens: int = 64
    repeats: int = 5
    threads: int
    kv: str = "f16"  # how both sides store keys and values
    deepest: int = 0  # tokens of context that something else needs

    @property
    def context(self) -> int:
        """Tokens that a side must have room for."""
        return max(self.prefill_tokens, self.deepest) + self.decode_tokens + 1
