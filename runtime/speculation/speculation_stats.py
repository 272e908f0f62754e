"""What `Completion.stats` says of the drafts of a request."""

from typing import TypedDict


class SpeculationStats(TypedDict, total=False):
    """Absent where speculation is off.

    drafted_tokens    : nodes of all drafts
    accepted_tokens   : those of them that the target took
    verified_drafts   : steps that verified a draft
    accepted_by_depth : at index d, drafts whose accepted path had at least d + 1 nodes
    """

    drafted_tokens: int
    accepted_tokens: int
    verified_drafts: int
    accepted_by_depth: tuple[int, ...]
