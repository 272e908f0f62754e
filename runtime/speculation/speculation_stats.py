"""What `Completion.stats` says of the drafts of a request."""

from typing import TypedDict


class SpeculationStats(TypedDict, total=False):
    """Absent where speculation is off.

    drafted_tokens    : nodes of all drafts
    accepted_tokens   : those of them that the target took
    verified_drafts   : steps that verified a draft
    accepted_by_depth : at index d, drafts whose accepted path had at least d + 1 nodes

    Absent too where the draft model does not draft while the target verifies:

    ready_guesses     : times that what it was asked had been drafted by then
    awaited_guesses   : times that the target waited for it
    """

    drafted_tokens: int
    accepted_tokens: int
    verified_drafts: int
    accepted_by_depth: tuple[int, ...]
    ready_guesses: int
    awaited_guesses: int
