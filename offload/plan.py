"""What a model will cost on this machine and why it is run the way it is, in numbers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.table import aligned
from slipstream.offload.units import format_bytes

# Far enough into a conversation that reading the KV cache shows in the speed.
LONG_CONTEXT_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a model costs, without what it means; the runtime fills this in from the model file.

    `read_bytes_per_token` is what one decode step reads of the weights; it is less than
    `weights_bytes` where only some rows (an embedding) or experts are read.
    """

    weights_bytes: int  # resident in RAM
    read_bytes_per_token: int
    kv_bytes_per_token: int
    workspace_bytes: int  # activations and other scratch memory of the largest step
    trained_context: int  # tokens
    draft: "Footprint | None" = None  # of a second model, which drafts for one sequence at a time

    @classmethod
    def of(cls, parts: ModelParts, draft: ModelParts | None) -> Self:
        """Of a model on the CPU, and of the one that drafts for it."""
        weights_bytes = sum(layer.weight_bytes for layer in parts.layers) + parts.head_bytes
        return cls(
            weights_bytes=weights_bytes,
            read_bytes_per_token=weights_bytes,
            kv_bytes_per_token=sum(layer.kv_bytes_per_token for layer in parts.layers),
            workspace_bytes=parts.workspace_bytes,
            trained_context=parts.trained_context,
            draft=None if draft is None else cls.of(draft, None),
        )

    def kv_bytes(self, context: int, num_sequences: int = 1) -> int:
        """KV cache of so many sequences, and the draft's of one, of `context` tokens each."""
        draft_bytes = 0 if self.draft is None else self.draft.kv_bytes_per_token
        return context * (num_sequences * self.kv_bytes_per_token + draft_bytes)

    def needed_bytes(self, context: int, num_sequences: int = 1) -> int:
        """All that the model, and the draft, take in RAM."""
        draft_bytes = 0 if self.draft is None else self.draft.needed_bytes(0)
        fixed_bytes = self.weights_bytes + self.workspace_bytes + draft_bytes
        return fixed_bytes + self.kv_bytes(context, num_sequences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One choice of the planner: what was chosen, the value, and the reason."""

    what: str
    value: int | str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a model runs on a machine. Made by `planner.plan_cpu`; sizes are in bytes."""

    backend: str
    threads: int
    kv: str  # how keys and values are stored
    context: int  # tokens, of one sequence
    num_sequences: int  # how many of them the KV cache holds at the same time
    footprint: Footprint
    ram_available_bytes: int
    ram_margin_bytes: int  # of the available RAM, left to others
    read_gb_per_s: float | None
    decisions: tuple[Decision, ...]
    placement: PlacementPlan | None = None  # where a GPU has a part of the model or the draft

    @property
    def kv_tokens(self) -> int:
        """Tokens that the KV cache holds, of all sequences together."""
        return self.context * self.num_sequences

    @property
    def kv_bytes(self) -> int:
        """Size of the KV cache, the draft's included."""
        return self.footprint.kv_bytes(self.context, self.num_sequences)

    @property
    def needed_bytes(self) -> int:
        """Everything the plan takes in RAM: weights, KV cache and workspace."""
        return self.footprint.needed_bytes(self.context, self.num_sequences)

    def predicted_decode_tok_per_s(self, context_tokens: int = 0) -> float | None:
        """Decode speed of one sequence that already holds `context_tokens`, if reads are the limit.

        read bandwidth / (weights read + KV read per token); None when no bandwidth was measured.
        It is a ceiling: computing can only add to the time that reading takes.
        """
        if self.read_gb_per_s is None:
            return None
        return self.read_gb_per_s * 1e9 / self._read_bytes(context_tokens)

    def lines(self) -> list[str]:
        """The plan as the lines of a plain-text table: name, value, reason."""
        rows = [
            (decision.what, _readable(decision.value), decision.why) for decision in self.decisions
        ]
        if self.placement is not None:
            lines = aligned([*rows, *self._memory_rows()])
            return [*lines, "", *str(self.placement).splitlines()]
        return aligned([*rows, *self._memory_rows(), *self._speed_rows()])

    def compare(
        self,
        actual_decode_tok_per_s: float,
        *,
        context_tokens: int = 0,
        tokens_a_step: float = 1.0,
        actual_ram_bytes: int | None = None,
    ) -> list[str]:
        """Lines of a table with the plan's figures beside those of a run.

        `context_tokens` is how many tokens the sequence held on average while it was decoded. With
        drafts a step, which reads the weights once, may bring more than the one token predicted.
        """
        rows = [("", "predicted", "actual", "actual / predicted")]
        speed = self.predicted_decode_tok_per_s(context_tokens)
        rows.append(_compared("decode tok/s", speed, actual_decode_tok_per_s, _one_decimal))
        steps_per_s = actual_decode_tok_per_s / tokens_a_step
        read_gb_per_s = steps_per_s * self._read_bytes(context_tokens) / 1e9
        rows.append(_compared("read GB/s", self.read_gb_per_s, read_gb_per_s, _one_decimal))
        if actual_ram_bytes is not None:
            rows.append(_compared("RAM", self.needed_bytes, actual_ram_bytes, format_bytes))
        return aligned(rows)

    def as_dict(self) -> dict[str, Any]:
        """The plan with its derived figures, ready for JSON."""
        speeds = [
            {"context_tokens": tokens, "tok_per_s": self.predicted_decode_tok_per_s(tokens)}
            for tokens in (0, self._long_context_tokens)
            if self.placement is None  # which has predictions of its own
        ]
        return {
            **asdict(self),
            "kv_tokens": self.kv_tokens,
            "kv_bytes": self.kv_bytes,
            "needed_bytes": self.needed_bytes,
            "predicted_decode": speeds,
        }

    @property
    def _long_context_tokens(self) -> int:
        return min(LONG_CONTEXT_TOKENS, self.context)

    def _read_bytes(self, context_tokens: int) -> int:
        """Bytes that one decode step reads when the sequence holds `context_tokens`."""
        per_token = self.footprint.kv_bytes_per_token
        return self.footprint.read_bytes_per_token + context_tokens * per_token

    def _memory_rows(self) -> list[tuple[str, str, str]]:
        per_1k_tokens = format_bytes(self.footprint.kv_bytes(1000))
        return [
            ("weights", format_bytes(self.footprint.weights_bytes), ""),
            *self._draft_rows(),
            ("KV cache", format_bytes(self.kv_bytes), f"{per_1k_tokens} for each 1,000 tokens"),
            ("workspace", format_bytes(self.footprint.workspace_bytes), ""),
            (
                "RAM needed",
                format_bytes(self.needed_bytes),
                f"of {format_bytes(self.ram_available_bytes)} available, "
                f"{format_bytes(self.ram_margin_bytes)} of it left to other programs",
            ),
        ]

    def _draft_rows(self) -> list[tuple[str, str, str]]:
        draft = self.footprint.draft
        if draft is None:
            return []
        beside = f"{format_bytes(draft.workspace_bytes)} of workspace beside them"
        return [("draft's weights", format_bytes(draft.weights_bytes), beside)]

    def _speed_rows(self) -> list[tuple[str, str, str]]:
        if self.read_gb_per_s is None:
            return [("decode at most", "unknown", "the read bandwidth was not measured")]
        rows = []
        for tokens in (0, self._long_context_tokens):
            where = f"with {tokens:,} tokens of context" if tokens else "with an empty context"
            read = format_bytes(self._read_bytes(tokens))
            speed = self.read_gb_per_s * 1e9 / self._read_bytes(tokens)
            why = f"{where}: {self.read_gb_per_s:.1f} GB/s, {read} read for each token"
            rows.append(("decode at most", f"{speed:.1f} tok/s", why))
        return rows


def _one_decimal(value: float) -> str:
    return f"{value:.1f}"


def _readable(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _compared(
    what: str, predicted: float | None, actual: float, show: Callable[[float], str]
) -> tuple[str, str, str, str]:
    if predicted is None:
        return (what, "unknown", show(actual), "")
    return (what, show(predicted), show(actual), f"{actual / predicted:.0%}")
