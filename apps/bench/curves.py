"""More than one speed: forwards of several sizes, and decoding far into a context."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from slipstream.apps.bench import speed
from slipstream.apps.bench.speed import Side, Spread

VERIFY_CONTEXT = 64  # tokens before the rows of a verification
VERIFY_SIZES = (1, 2, 3, 4, 5, 7, 8, 12, 16)
PREFILL_SIZES = (1, 2, 4, 8, 16, 64, 512)
SMALL_PREFILL = 64  # a prompt of fewer tokens is too short to time once


class VerifyingSide(Side, Protocol):
    """A side that can also run one forward after a context."""

    def verify(self, context: Sequence[int], new: Sequence[int]) -> float:
        """Seconds of one forward over `new` after `context`, logits of all; then forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What one side did, in medians with their ends.

    verify_s             : rows of a forward, to its seconds with all logits
    prefill_tok_per_s    : tokens of a prompt, to its speed with the last token's logits
    deep_decode_tok_per_s: tokens of context, to the speed of decoding after it
    """

    verify_s: dict[int, Spread]
    prefill_tok_per_s: dict[int, Spread]
    deep_decode_tok_per_s: dict[int, Spread]


def measure_curves(
    sides: Sequence[VerifyingSide],
    prompts: Callable[[int], list[int]],
    *,
    sizes: bool,
    depths: Sequence[int],
    decode_tokens: int,
    repeats: int,
    announce: Callable[[str, str], None] = lambda _side, _what: None,
) -> dict[str, Curves]:
    """Each figure of all sides in turns, after one turn that warms up.

    sizes    : whether verification and prefill are measured
    prompts  : makes a fresh prompt of so many tokens
    announce : told the side's name and what is measured, before it is
    """
    verify: dict[str, dict[int, list[float]]] = {side.name: {} for side in sides}
    prefill: dict[str, dict[int, list[float]]] = {side.name: {} for side in sides}
    deep: dict[str, dict[int, list[float]]] = {side.name: {} for side in sides}
    context = prompts(VERIFY_CONTEXT)
    for turn, side in itertools.product(range(repeats + 1 if sizes else 0), sides):
        announce(side.name, "verification and prefill")
        time.sleep(speed.REST_S)
        for size in VERIFY_SIZES:
            seconds = [side.verify(context, prompts(size)) for _ in range(3)]
            verify[side.name].setdefault(size, []).extend(seconds if turn else [])
        for size in PREFILL_SIZES:
            for _ in range(1 if size > SMALL_PREFILL else 3):
                rate = side.run(prompts(size), 0).prefill_tok_per_s
                prefill[side.name].setdefault(size, []).extend([rate] if turn else [])
    for depth in depths:
        prompt = prompts(depth)
        for turn, side in itertools.product(range(repeats + 1), sides):
            announce(side.name, f"decoding after {depth} tokens")
            time.sleep(speed.REST_S)
            rate = side.run(prompt, decode_tokens, reuse=True).decode_tok_per_s
            deep[side.name].setdefault(depth, []).extend([rate] if turn else [])
    return {
        side.name: Curves(
            verify_s=_spreads(verify[side.name]),
            prefill_tok_per_s=_spreads(prefill[side.name]),
            deep_decode_tok_per_s=_spreads(deep[side.name]),
        )
        for side in sides
    }


def _spreads(figures: dict[int, list[float]]) -> dict[int, Spread]:
    return {size: Spread.of(values) for size, values in figures.items()}


def curve_rows(model: str, curves: Mapping[str, Curves]) -> list[tuple[str, ...]]:
    """A table: what, then each side's median."""
    table: list[tuple[str, ...]] = [(model, *curves)]
    sides = list(curves.values())
    for size in sides[0].verify_s:
        table.append(
            (f"verify {size} ms", *(f"{s.verify_s[size].median * 1e3:.1f}" for s in sides))
        )
    for size in sides[0].prefill_tok_per_s:
        speeds = (f"{s.prefill_tok_per_s[size].median:.0f}" for s in sides)
        table.append((f"prefill {size} tok/s", *speeds))
    for depth in sides[0].deep_decode_tok_per_s:
        speeds = (f"{s.deep_decode_tok_per_s[depth].median:.1f}" for s in sides)
        table.append((f"decode after {depth} tok/s", *speeds))
    return table
