"""When a request's steps go without drafts."""

from slipstream.runtime.speculation.pauses import Pauses


def rests(pauses: Pauses, drafts: int, share: float, size: int = 0) -> list[int]:
    """Steps without a draft after each of so many drafts of `size` nodes."""
    found = []
    for _ in range(drafts):
        pauses.drafted(size, share)
        count = 0
        while pauses.now():
            count += 1
        found.append(count)
    return found


def test_rests_after_drafts_in_vain_grow_up_to_their_share() -> None:
    pauses = Pauses()
    assert rests(pauses, 6, share=0.02) == [0, 1, 2, 3, 4, 4]
    assert rests(pauses, 1, share=0.02, size=3) == [0]
    assert rests(pauses, 3, share=0.02) == [0, 1, 2]


def test_a_draft_that_costs_next_to_nothing_is_always_tried() -> None:
    assert rests(Pauses(), 5, share=0.004) == [0] * 5


def test_one_step_in_a_long_run_goes_without() -> None:
    taken = rests(Pauses(), 200, share=0.02, size=7)
    assert sum(taken) == 3
    assert max(taken) == 1
