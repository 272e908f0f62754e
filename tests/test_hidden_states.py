"""Final-normed hidden states: what the head consumes, of the wanted rows or of all."""

from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.step_batch import StepBatch
from support.exact_forward import exact_hidden
from support.tiny_draft import relative_error
from support.tiny_gguf import ARCHITECTURES, write_tiny_model
from support.tiny_runner import TinyRunner

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 97]


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_are_the_exact_ones(tmp_path: Path, architecture: str, backend: str) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, architecture=architecture)
    runner = TinyRunner(path, backend)
    slot = runner.cache.open()
    runner.forward(StepBatch.linear([(slot, 0, TOKENS)], range(len(TOKENS))))
    got = runner.step_runner.hidden()
    (want,) = exact_hidden(path, [TOKENS], kv_dtype=np.float16)
    assert got.dtype == np.float32
    assert relative_error(got, want) < 2e-3
    assert relative_error(got[::-1], want) > 0.1


@pytest.mark.parametrize("wanted", [[], [11], [0, 5], list(range(12))])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_keeping_all_changes_no_logits(architecture: str, wanted: list[int]) -> None:
    runner = TinyRunner.of(architecture, QuantType.Q4_K, "numba")
    slot = runner.cache.open()
    every = runner.forward(StepBatch.linear([(slot, 0, TOKENS)], range(len(TOKENS))))
    hidden = runner.step_runner.hidden()
    batch = StepBatch.linear([(slot, 0, TOKENS)], wanted, keeps_all=True)
    np.testing.assert_array_equal(runner.forward(batch), every[wanted])
    np.testing.assert_array_equal(runner.step_runner.hidden(), hidden)
    runner.forward(StepBatch.linear([(slot, 0, TOKENS)], wanted))
    np.testing.assert_array_equal(runner.step_runner.hidden(), hidden[wanted])
    runner.cache.close(slot)


def test_steps_that_run_again_have_hidden_states_of_their_own() -> None:
    runner = TinyRunner.of("llama", QuantType.Q4_K, "numba")
    slot = runner.cache.open()
    runner.feed(slot, TOKENS)
    together = runner.step_runner.hidden()
    runner.cache.truncate(slot, 0)
    for row, token in enumerate(TOKENS):
        runner.feed(slot, [token])
        np.testing.assert_array_equal(runner.step_runner.hidden(), together[row : row + 1])
    runner.cache.close(slot)
