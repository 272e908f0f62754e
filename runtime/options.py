"""What a user asks of a model, checked before anything is loaded."""

from dataclasses import dataclass

from slipstream.runtime.errors import OptionError

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `LLM`. None means "decide for me"; the plan says what was decided and why."""

    threads: int | None = None
    context: int | None = None  # tokens
    kv: str = "auto"
    speculate: str | bool = "auto"
    draft: str | None = None
    vram_bytes: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Raises OptionError for a value that can't be met."""
        _check_count("threads", self.threads, 1)
        _check_count("context", self.context, 1)
        _check_count("vram_bytes", self.vram_bytes, 0)
        _check_count("seed", self.seed, 0)
        if self.kv not in ("auto", "f16"):
            raise OptionError(
                f"kv: this version stores keys and values as 'f16' ('auto' is the same), "
                f"got {self.kv!r}"
            )
        if self.speculate not in ("auto", "off", False):
            raise OptionError(
                f"speculate: this version decodes one token a step ('auto' or 'off'), "
                f"got {self.speculate!r}"
            )
        if self.draft is not None:
            raise OptionError(
                f"draft: speculative decoding is not in this version, so {self.draft!r} can't be "
                "used; leave it out"
            )
        if self.vram_bytes:
            raise OptionError(
                f"vram_bytes: this version computes on the CPU only, so {self.vram_bytes} bytes "
                "of GPU memory can't be used; leave it out"
            )


def _check_count(name: str, value: object, lowest: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise OptionError(f"{name}: expected a whole number from {lowest}, got {value!r}")
