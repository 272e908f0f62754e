"""The works of an answer: a step for each token, or rounds of drafting and verifying."""

from collections.abc import Callable
from dataclasses import dataclass

from slipstream.offload.simulator.steps import PlacedParts, WorkList, add_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """How tokens are drafted."""

    depth: int  # tokens drafted in a round; the target verifies one row more
    tokens_a_round: float  # that are expected of it
    overlaps: bool  # the next round is drafted while the target verifies this one


def add_plain_steps(
    works: WorkList,
    target: PlacedParts,
    num_tokens: int,
    held_at: Callable[[float], int],
    after: tuple[int, ...],
) -> None:
    """Adds a step of one row for each token; `held_at` says what the cache holds after so many."""
    for token in range(num_tokens):
        held_tokens = held_at(token)
        last = add_step(works, target, rows=1, head_rows=1, held_tokens=held_tokens, after=after)
        after = (last,)


def add_rounds(
    works: WorkList,
    target: PlacedParts,
    drafter: PlacedParts,
    drafting: Drafting,
    num_rounds: int,
    held_at: Callable[[float], int],
    after: tuple[int, ...],
) -> None:
    """Adds rounds of drafting and verifying.

    Where drafting overlaps, the next round's draft begins with verification (PEARL,
    arXiv:2408.11850), and what it drafts is taken to be of use, as in `step_times.py`.
    """
    rows = drafting.depth + 1

    def add_draft(round_id: int, after: tuple[int, ...]) -> tuple[int, ...]:
        held_tokens = held_at(round_id * drafting.tokens_a_round)
        for _ in range(drafting.depth):
            last = add_step(
                works, drafter, rows=1, head_rows=1, held_tokens=held_tokens, after=after
            )
            after = (last,)
        return after

    drafted, verified = add_draft(0, after), after
    for round_id in range(num_rounds):
        begin = (*drafted, *verified)
        held_tokens = held_at(round_id * drafting.tokens_a_round)
        verified = (
            add_step(
                works, target, rows=rows, head_rows=rows, held_tokens=held_tokens, after=begin
            ),
        )
        if round_id + 1 < num_rounds:
            drafted = add_draft(round_id + 1, begin if drafting.overlaps else verified)
