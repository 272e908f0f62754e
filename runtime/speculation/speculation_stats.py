"""What `Completion.stats` says of the drafts of a request."""

from typing import TypedDict


class SpeculationStats(TypedDict, total=False):
    """Absent where speculation is off.

    drafted_tokens      : nodes of all drafts
    accepted_tokens     : those of them that the target took
    verified_drafts     : steps that verified a draft
    accepted_by_depth   : at index d, drafts whose accepted path had at least d + 1 nodes
    accepted_by_drafter : by the name of the first drafter that guessed them, the cheap ones first

    Absent too without a draft model or Dovetail draft:

    draft_note : whether it is asked now, and why

    Absent too where the draft model does not draft while the target verifies:

    ready_guesses   : times that what it was asked had been drafted by then
    awaited_guesses : times that the target waited for it
    """

    drafted_tokens: int
    accepted_tokens: int
    verified_drafts: int
    accepted_by_depth: tuple[int, ...]
    accepted_by_drafter: dict[str, int]
    draft_note: str
    ready_guesses: int
    awaited_guesses: int
