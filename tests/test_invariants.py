"""What must not change the logits: caching, chunks, trees, company, and turning back.

The compiled kernels build each row's sums in one order whatever else is in the step, so there the
logits are the same bits. NumPy's linear algebra is free to choose.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.step_batch import StepBatch
from support.op_tolerances import error
from support.stored_keys import QUANTISED
from support.tiny_gguf import ARCHITECTURES
from support.tiny_runner import TinyRunner

LENGTH = 80  # more than a page of the cache, and five windows of the tiny Gemma
MODELS = [
    *((architecture, QuantType.F32, "reference") for architecture in ARCHITECTURES),
    *((architecture, QuantType.F32, "numba") for architecture in ARCHITECTURES),
    *((architecture, QuantType.Q4_K, "numba") for architecture in ARCHITECTURES),
    *(("llama", QuantType.Q4_K, "numba", dtype) for dtype in QUANTISED),
]


@pytest.fixture(params=MODELS, ids=lambda model: "-".join(map(str, model)))
def runner(request: pytest.FixtureRequest) -> Iterator[TinyRunner]:
    runner = TinyRunner.of(*request.param)
    free = runner.cache.free_tokens
    yield runner
    assert runner.cache.free_tokens == free, "the test left sequences open"


@pytest.fixture
def text(runner: TinyRunner) -> list[int]:
    return random_tokens(runner, LENGTH)


def random_tokens(runner: TinyRunner, count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, runner.config.vocab_size, count).tolist()


def assert_same(runner: TinyRunner, got: np.ndarray, want: np.ndarray) -> None:
    if runner.backend.name == "reference":
        assert error(got, want) < 1e-5
    else:
        np.testing.assert_array_equal(got, want)


def test_logits_depend_on_the_whole_text(runner: TinyRunner, text: list[int]) -> None:
    """What the other tests compare is not the same for every text."""
    want = runner.whole(text)
    assert np.isfinite(want).all()
    other = runner.whole([(text[0] + 1) % runner.config.vocab_size, *text[1:]])
    assert error(other[-1:], want[-1:]) > 1e-4
    swapped = runner.whole([*text[:-3], text[-2], text[-3], text[-1]])
    assert error(swapped[-1:], want[-1:]) > 1e-2


def test_cached_is_uncached(runner: TinyRunner, text: list[int]) -> None:
    """Token by token, each step attending to the cache, as without one."""
    slot = runner.cache.open()
    cached = runner.feed(slot, text, chunk=1)
    for length in (1, 17, 64, 65, LENGTH):
        assert_same(runner, cached[:length], runner.whole(text[:length]))
    runner.cache.close(slot)


@pytest.mark.parametrize("chunk", [3, 7, 64])
def test_chunked_is_whole(runner: TinyRunner, text: list[int], chunk: int) -> None:
    slot = runner.cache.open()
    assert_same(runner, runner.feed(slot, text, chunk), runner.whole(text))
    runner.cache.close(slot)


def test_wanted_rows_are_rows_of_all(runner: TinyRunner, text: list[int]) -> None:
    want = runner.whole(text)
    for wanted in ([], [LENGTH - 1], [0, 7, 50], list(range(1, LENGTH, 2))):
        slot = runner.cache.open()
        got = runner.forward(StepBatch.linear([(slot, 0, text)], wanted))
        assert got.shape == (len(wanted), runner.config.vocab_size)
        assert_same(runner, got, want[wanted])
        runner.cache.close(slot)


#  0 -+- 1 -+- 4 --- 7
#     |     +- 5
#     +- 2 --- 6 --- 8 --- 9
#  3 (a second root) --- 10
PARENTS = [-1, 0, 0, -1, 1, 1, 2, 4, 6, 8, 3]
PATHS = {7: [0, 1, 4, 7], 5: [0, 1, 5], 9: [0, 2, 6, 8, 9], 10: [3, 10]}


@pytest.mark.parametrize("past", [0, 1, 60, 75])
def test_tree_nodes_are_their_linear_paths(runner: TinyRunner, text: list[int], past: int) -> None:
    nodes = random_tokens(runner, len(PARENTS), seed=past)
    slot = runner.cache.open()
    if past:
        runner.feed(slot, text[:past])
    tree = runner.forward(StepBatch.tree(slot, past, nodes, PARENTS))
    for path in PATHS.values():
        linear = runner.whole(text[:past] + [nodes[node] for node in path])
        assert_same(runner, tree[path], linear[past:])
    runner.cache.close(slot)


@pytest.mark.parametrize("end", PATHS)
@pytest.mark.parametrize("kept", [0, 2, None])
def test_a_committed_path_continues_as_if_linear(
    runner: TinyRunner, text: list[int], end: int, kept: int | None
) -> None:
    nodes = random_tokens(runner, len(PARENTS), seed=end)
    slot = runner.cache.open()
    past, path = 60, PATHS[end][:kept]  # the tree reaches over a page's end
    runner.feed(slot, text[:past])
    runner.forward(StepBatch.tree(slot, past, nodes, PARENTS))
    runner.cache.commit(slot, path)
    accepted = text[:past] + [nodes[node] for node in path]
    assert runner.cache.length(slot) == len(accepted)
    rest = text[past:]
    want = runner.whole(accepted + rest)[len(accepted) :]
    assert_same(runner, runner.feed(slot, rest), want)
    runner.cache.close(slot)


def test_sequences_in_one_step_are_each_alone(runner: TinyRunner, text: list[int]) -> None:
    """Prompts, decoding and a tree of other sequences share the step."""
    others = random_tokens(runner, LENGTH, seed=1)
    nodes = random_tokens(runner, len(PARENTS), seed=2)
    want = runner.whole(text), runner.whole(others)
    first, second, third = (runner.cache.open() for _ in range(3))
    runner.feed(first, text[:60])
    runner.feed(second, others[:3])
    runner.feed(third, text[:20])
    tree = StepBatch.tree(third, 20, nodes, PARENTS)
    plain = StepBatch.linear([(first, 60, text[60:65]), (second, 3, others[3:4])], range(6))
    batch = join(plain, tree)
    got = runner.forward(batch)
    assert_same(runner, got[:5], want[0][60:65])
    assert_same(runner, got[5:6], want[1][3:4])
    path = PATHS[9]
    linear = runner.whole(text[:20] + [nodes[node] for node in path])
    assert_same(runner, got[6:][path], linear[20:])
    for slot, committed in ((first, None), (second, None), (third, path)):
        runner.cache.commit(slot, committed)
    again = StepBatch.linear([(second, 4, others[4:60]), (first, 65, text[65:])], range(71))
    got = runner.forward(again)
    assert_same(runner, got[:56], want[1][4:60])
    assert_same(runner, got[56:], want[0][65:])
    for slot in (first, second, third):
        runner.cache.close(slot)


def join(first: StepBatch, second: StepBatch) -> StepBatch:
    """Both steps in one."""
    num_rows = len(first.tokens) + len(second.tokens)
    ancestors = np.zeros((num_rows, num_rows), bool)
    ancestors[: len(first.tokens), : len(first.tokens)] = first.ancestors
    ancestors[len(first.tokens) :, len(first.tokens) :] = second.ancestors
    return StepBatch(
        tokens=np.concatenate([first.tokens, second.tokens]),
        positions=np.concatenate([first.positions, second.positions]),
        slots=np.concatenate([first.slots, second.slots]),
        ancestors=ancestors,
        wanted=np.concatenate([first.wanted, len(first.tokens) + second.wanted]).astype(np.int32),
    )


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 79])
def test_truncated_is_never_diverged(runner: TinyRunner, text: list[int], kept: int) -> None:
    slot = runner.cache.open()
    runner.feed(slot, text[:kept] + random_tokens(runner, LENGTH - kept, seed=3))
    runner.cache.truncate(slot, kept)
    assert_same(runner, runner.feed(slot, text[kept:]), runner.whole(text)[kept:])
    runner.cache.close(slot)


@pytest.mark.parametrize("shared", [1, 64, 79])
def test_a_fork_and_its_source_go_their_own_ways(
    runner: TinyRunner, text: list[int], shared: int
) -> None:
    source = runner.cache.open()
    runner.feed(source, text)
    fork = runner.cache.fork(source, shared)
    other = text[:shared] + random_tokens(runner, 30, seed=4)
    assert_same(runner, runner.feed(fork, other[shared:]), runner.whole(other)[shared:])
    more = random_tokens(runner, 5, seed=5)
    assert_same(runner, runner.feed(source, more), runner.whole(text + more)[LENGTH:])
    runner.cache.close(fork)
    runner.cache.close(source)


def test_a_dropped_step_leaves_no_trace(runner: TinyRunner, text: list[int]) -> None:
    slot = runner.cache.open()
    runner.feed(slot, text[:50])
    runner.forward(StepBatch.linear([(slot, 50, random_tokens(runner, 40, seed=6))], [39]))
    assert_same(runner, runner.feed(slot, text[50:]), runner.whole(text)[50:])
    runner.cache.close(slot)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_backends_agree(architecture: str) -> None:
    """Exactly dequantised float32 weights: the backends differ by rounding alone."""
    reference = TinyRunner.of(architecture, QuantType.F32, "reference")
    compiled = TinyRunner.of(architecture, QuantType.F32, "numba")
    tokens = random_tokens(reference, LENGTH)
    assert error(compiled.whole(tokens), reference.whole(tokens)) < 5e-3
