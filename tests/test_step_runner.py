"""A step of a shape that came before is kept and run again: nothing shows it but the time."""

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.models import step_runner
from slipstream.runtime.step_batch import StepBatch
from support.tiny_gguf import ARCHITECTURES
from support.tiny_runner import TinyRunner


def decoded(runner: TinyRunner, prompt: list[int], tokens: list[int]) -> list[np.ndarray]:
    """The logits of each of `tokens`, fed one by one after a prompt."""
    slot = runner.cache.open()
    runner.feed(slot, prompt)
    logits = [runner.feed(slot, [token]) for token in tokens]
    runner.cache.close(slot)
    return logits


def count_forwards(runner: TinyRunner, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each step that goes through the model from now on; kept ones do not."""
    rows: list[int] = []
    forward = runner.model.forward

    def counting(step: object) -> np.ndarray:
        rows.append(step.num_rows)
        return forward(step)

    monkeypatch.setattr(runner.model, "forward", counting)
    return rows


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kept_steps_give_what_fresh_ones_give(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = TinyRunner.of(architecture, QuantType.Q4_K, "numba")
    prompt, tokens = list(range(5, 75)), list(range(20, 90))  # over a page's end and any window
    first = decoded(runner, prompt, tokens)
    rows = count_forwards(runner, monkeypatch)
    again = decoded(runner, prompt, tokens)
    assert rows == [len(prompt)]  # which is too long to be kept
    monkeypatch.setattr(runner.step_runner, "_keeps", False)
    fresh = decoded(runner, prompt, tokens)
    assert rows.count(1) == len(tokens)
    for one, two, three in zip(first, again, fresh, strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)


def test_sequences_do_not_meet_in_a_captured_step() -> None:
    """The next step of the same shape may be another sequence's, elsewhere in the cache."""
    runner = TinyRunner.of("gemma3", QuantType.Q4_K, "numba")
    texts = ([3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8])
    slots = [runner.cache.open() for _ in texts]
    got: list[list[np.ndarray]] = [[], []]
    for column in zip(*texts, strict=True):
        for logits, slot, token in zip(got, slots, column, strict=True):
            logits.append(runner.feed(slot, [token]))
    for logits, slot, text in zip(got, slots, texts, strict=True):
        np.testing.assert_array_equal(np.concatenate(logits), runner.whole(text))
        runner.cache.close(slot)


def test_trees_of_one_shape_keep_their_own_branches() -> None:
    runner = TinyRunner.of("llama", QuantType.Q4_K, "numba")
    slot = runner.cache.open()
    runner.feed(slot, [9, 8, 7])
    for parents in ([-1, 0, 0, 1], [-1, 0, 1, 2], [-1, -1, 0, 1]):
        tokens = [11, 12, 13, 14]
        logits = runner.forward(StepBatch.tree(slot, 3, tokens, parents))
        for node in range(4):
            path, at = [], node
            while at >= 0:
                path.insert(0, tokens[at])
                at = parents[at]
            np.testing.assert_array_equal(logits[node], runner.whole([9, 8, 7, *path])[-1])
        runner.cache.commit(slot, [])
    runner.cache.close(slot)


def test_a_batch_can_be_run_again() -> None:
    """Another one of its shape in between writes into arrays of the kept step alone."""
    runner = TinyRunner.of("llama", QuantType.Q4_K, "numba")
    runner.step_runner._kept.clear()
    slot = runner.cache.open()
    first, second = (
        StepBatch.tree(slot, 0, [11, 12, 13], parents) for parents in ([-1, 0, 1], [-1, 0, 0])
    )
    want = [runner.forward(batch).copy() for batch in (first, second)]
    again = [runner.forward(batch).copy() for batch in (first, second)]
    np.testing.assert_array_equal(again, want)
    runner.cache.close(slot)


def test_few_shapes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_runner, "_MOST_KEPT", 3)
    runner = TinyRunner.of("llama", QuantType.Q4_K, "numba")
    runner.step_runner._kept.clear()
    slot = runner.cache.open()
    for length in (1, 2, 3, 1, 4):
        runner.forward(StepBatch.linear([(slot, 0, list(range(length)))], range(length)))
    kept = [shape[0] for shape in runner.step_runner._kept]
    assert kept == [3, 1, 4]
    runner.cache.close(slot)


def test_kept_steps_share_their_buffers() -> None:
    """Whatever their order: a kept step holds its own, and one for each size would be much."""
    tiny = TinyRunner.of("llama", QuantType.Q4_K, "numba")
    fresh = step_runner.StepRunner(tiny.model, tiny.cache, tiny.backend)
    slot = tiny.cache.open()
    bases = set()
    for length in (1, 2, 64, 3):
        logits = fresh.logits(StepBatch.linear([(slot, 0, list(range(length)))], range(length)))
        bases.add(id(logits.base))
    assert len(bases) == 2  # that of one row, which may be all that is ever needed, and the others'
    tiny.cache.close(slot)
