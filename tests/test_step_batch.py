"""StepBatch: its two constructors, and what it refuses to describe."""

from typing import Any

import numpy as np
import pytest

from slipstream.runtime.step_batch import StepBatch


def test_linear_runs_of_two_sequences() -> None:
    batch = StepBatch.linear([(7, 10, [1, 2, 3]), (4, 0, [9])], [2, 3])
    assert batch.tokens.tolist() == [1, 2, 3, 9]
    assert batch.positions.tolist() == [10, 11, 12, 0]
    assert batch.slots.tolist() == [7, 7, 7, 4]
    assert batch.wanted.tolist() == [2, 3]
    assert batch.ancestors.astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 1],
    ]
    for name in ("tokens", "positions", "slots", "wanted"):
        assert getattr(batch, name).dtype == np.int32


def test_a_prefill_chunk_may_want_no_logits() -> None:
    assert StepBatch.linear([(0, 0, [1, 2])], []).wanted.shape == (0,)


def test_tree() -> None:
    #  0 -+- 1 --- 3
    #     +- 2        4 is a second root, 5 its child
    batch = StepBatch.tree(3, 20, [5, 6, 7, 8, 9, 10], [-1, 0, 0, 1, -1, 4])
    assert batch.positions.tolist() == [20, 21, 21, 22, 20, 21]
    assert batch.slots.tolist() == [3] * 6
    assert batch.wanted.tolist() == list(range(6))
    assert batch.ancestors.astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ]


def test_a_chain_is_a_linear_run() -> None:
    chain = StepBatch.tree(2, 5, [1, 2, 3], [-1, 0, 1])
    run = StepBatch.linear([(2, 5, [1, 2, 3])], [0, 1, 2])
    for name in ("tokens", "positions", "slots", "ancestors", "wanted"):
        np.testing.assert_array_equal(getattr(chain, name), getattr(run, name))


@pytest.mark.parametrize("parents", [[0], [-2], [-1, 1], [-1, 5], [-1, -1, -1]])
def test_parents_come_before_their_children(parents: list[int]) -> None:
    with pytest.raises(ValueError, match="parent"):
        StepBatch.tree(0, 0, [1] * min(len(parents), 2), parents)


def three_rows(**changes: Any) -> dict[str, Any]:
    """Arguments of a sound step, with changes."""
    return {
        "tokens": np.array([1, 2, 3], np.int32),
        "positions": np.array([0, 1, 0], np.int32),
        "slots": np.array([0, 0, 1], np.int32),
        "ancestors": np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool),
        "wanted": np.array([1, 2], np.int32),
    } | changes


def test_three_rows_are_sound() -> None:
    assert len(StepBatch(**three_rows()).tokens) == 3


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"positions": np.zeros(2, np.int32)}, "length"),
        ({"slots": np.zeros(4, np.int32)}, "length"),
        ({"ancestors": np.eye(2, dtype=bool)}, "ancestors of another shape"),
        ({"ancestors": np.eye(4, dtype=bool)}, "ancestors of another shape"),
        ({"ancestors": np.zeros((3, 3), bool)}, "does not see itself"),
        ({"ancestors": np.triu(np.ones((3, 3), bool))}, "later one"),
        ({"ancestors": np.tril(np.ones((3, 3), bool))}, "another sequence"),
        (
            {"slots": np.array([0, 1, 0], np.int32), "ancestors": np.eye(3, dtype=bool)},
            "sequence apart",
        ),
        ({"wanted": np.array([3], np.int32)}, "out of range"),
        ({"wanted": np.array([-1, 2], np.int32)}, "out of range"),
        ({"wanted": np.array([2, 1], np.int32)}, "ascending"),
        ({"wanted": np.array([0, 0, 1], np.int32)}, "ascending"),
    ],
)
def test_what_is_no_step_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        StepBatch(**three_rows(**changes))


def test_no_rows_are_refused() -> None:
    none = np.empty(0, np.int32)
    with pytest.raises(ValueError, match="no rows"):
        StepBatch(
            tokens=none, positions=none, slots=none, ancestors=np.empty((0, 0), bool), wanted=none
        )
    with pytest.raises(ValueError, match="no rows"):
        StepBatch.linear([], [])
    with pytest.raises(ValueError, match="no rows"):
        StepBatch.tree(0, 0, [], [])
