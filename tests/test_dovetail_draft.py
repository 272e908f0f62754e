"""A draft computes what the paper says, and a path's guesses do not depend on how it got there."""

from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.backends import Backend, load_backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.dovetail import DraftFile
from slipstream.runtime.dovetail.dovetail_drafter import DovetailDrafter
from slipstream.runtime.dovetail.draft import DovetailDraft
from slipstream.runtime.dovetail.draft_file import round_to_q8_0
from slipstream.runtime.dovetail.gating_fusion import GatingFusion
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import ForwardPass
from slipstream.runtime.models.layers_in_place import LayersInPlace
from slipstream.runtime.models.step_inputs import StepInputs
from slipstream.runtime.models.step_program import StepRecorder
from slipstream.runtime.models.step_side import StepSides
from slipstream.runtime.models.weights import WeightLoader
from slipstream.runtime.models.workspace import Workspaces
from slipstream.runtime.step_batch import StepBatch
from support.tiny_draft import (
    chain,
    exact_draft,
    exact_fusion,
    relative_error,
    write_tiny_draft,
)
from support.tiny_gguf import write_tiny_model

WINDOW = 24


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_model(path, architecture="llama", quant_type=QuantType.Q8_0)
    return path


@pytest.fixture
def draft(target: Path, tmp_path: Path) -> DovetailDraft:
    write_tiny_draft(tmp_path / "draft.safetensors", target, blocks=2, window=WINDOW)
    return opened(tmp_path / "draft.safetensors", target, "numba")


def opened(path: Path, target: Path, backend: str) -> DovetailDraft:
    with ModelFile.open(target) as file:
        return DovetailDraft(
            DraftFile.open(path), file, load_backend(backend), threads=2, num_tokens=512
        )


def rounded(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Matrices as the draft has them: int8 with a scale for 32 columns."""
    backend = load_backend("reference")
    return {
        name: values
        if values.ndim == 1
        else backend.ops.dequantize(
            round_to_q8_0(values.astype(np.float32)), QuantType.Q8_0, np.float32
        )
        for name, values in arrays.items()
    }


def embedded(target: Path, tokens: list[int]) -> np.ndarray:
    with ModelFile.open(target) as file:
        tensor = file.tensors["token_embd.weight"]
        ops = load_backend("reference").ops
        return ops.dequantize(tensor.data[tokens], tensor.quant_type, np.float32).astype(float)


# The compiled kernels round activations to int8, 32 columns a scale.
@pytest.mark.parametrize(("backend", "limit"), [("reference", 2e-3), ("numba", 0.06)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_draft_is_the_numpy_reference(
    target: Path, tmp_path: Path, backend: str, limit: float, blocks: int
) -> None:
    path = tmp_path / "draft.safetensors"
    config, arrays, ids = write_tiny_draft(path, target, blocks=blocks, window=WINDOW)
    draft = opened(path, target, backend)
    tokens = list(chain(40, config.vocab_size))
    hidden = np.random.default_rng(1).normal(size=(40, config.hidden_size)).astype(np.float32)
    want = exact_draft(config, rounded(arrays), hidden.astype(float), embedded(target, tokens))
    draft.feed(hidden[:33], tokens[:33])
    logits, guessed = draft.feed(hidden[33:], tokens[33:])
    assert relative_error(guessed, want[-1]) < limit
    head = embedded(target, ids.tolist())  # which is also the head
    assert relative_error(logits[0], want[-1] @ head.T) < limit
    assert relative_error(guessed, want[-2]) > 0.2


def test_the_fusion_and_its_gate(target: Path, tmp_path: Path) -> None:
    path = tmp_path / "draft.safetensors"
    config, arrays, _ = write_tiny_draft(path, target)
    backend = load_backend("reference")
    fusion = GatingFusion.load(
        WeightLoader(DraftFile.open(path), backend), config.hidden_size, config.rms_eps
    )
    rng = np.random.default_rng(2)
    f, e = rng.normal(size=(2, 5, config.hidden_size)).astype(np.float32)
    with StepRecorder() as recorder:
        step = step_of_rows(5, backend, recorder)
        f, e = step.begin_at_layer(0, f, e)
        h1, h2 = fusion.branches(step, f, e)
        gate = fusion.gate(step, h1, h2)
        x = fusion.fuse(step, f, e)
    wants = exact_fusion(rounded(arrays), f.astype(float), e.astype(float), config.rms_eps)
    z = 1 / (1 + np.exp(-gate))
    for got, want in zip((h1, h2, z), wants, strict=True):
        assert relative_error(got, want) < 1e-5
    assert relative_error(x, wants[2] * wants[0] + (1 - wants[2]) * wants[1]) < 1e-5


def step_of_rows(num_rows: int, backend: Backend, recorder: StepRecorder) -> ForwardPass:
    """A step without a model."""
    cache = KVCache(num_layers=1, num_kv_heads=1, head_size=32, num_tokens=64, dtype="float16")
    batch = StepBatch.linear([(cache.open(), 0, list(range(num_rows)))], [0])
    sides = StepSides(StepInputs(batch, cache.place(batch)), Workspaces())
    return ForwardPass(sides, LayersInPlace(cache, backend), recorder)


def test_rows_together_or_one_by_one(draft: DovetailDraft) -> None:
    hidden = np.random.default_rng(1).normal(size=(30, 256)).astype(np.float32)
    tokens = list(chain(30, 90))
    logits, guessed = draft.feed(hidden, tokens)
    together = logits.copy(), guessed
    draft.sequence.truncate(3)
    for row in range(3, 30):
        alone = draft.feed(hidden[row : row + 1], tokens[row : row + 1])
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1], alone[1])


class Asked:
    """A drafter that has seen a text, and what it says of paths in any order."""

    def __init__(self, draft: DovetailDraft, length: int = 20) -> None:
        draft.sequence.truncate(0)
        self.drafter = DovetailDrafter(draft, 10_000, WINDOW)
        self.text = list(chain(length + 1, 90))
        self.hidden = np.random.default_rng(4).normal(size=(length, 256)).astype(np.float32)

    def see(self, start: int, end: int) -> None:
        self.drafter.observe_hidden(self.text, start, self.hidden[start:end])

    def ask(self, *drafted: int) -> list[tuple[int, float]]:
        guesses = self.drafter.guesses((self.text[-1], *drafted), None)
        return [(guess.token, guess.prior) for guess in guesses]

    def ready(self) -> bool:
        return self.drafter.catch_up(self.text, 100, lambda rows: 1.0)


def test_a_path_says_the_same_however_it_was_reached(draft: DovetailDraft) -> None:
    paths = [(), (5,), (5, 7), (5, 7, 9), (6,), (6, 2), (5, 8), (5, 7, 3)]
    want = {}
    for path in paths:  # each alone, row by row
        asked = Asked(draft)
        asked.see(0, 20)
        assert asked.ready()
        want[path] = [asked.ask(*path[:end]) for end in range(len(path) + 1)][-1]
    for order in (paths, [(), (6,), (5,), (6, 2), (5, 7), (5, 8), (5, 7, 3), (5, 7, 9)]):
        asked = Asked(draft)
        asked.see(0, 20)
        assert asked.ready()
        assert {path: asked.ask(*path) for path in order} == want
    assert len({tuple(each) for each in want.values()}) == len(paths)


def test_a_path_whose_beginning_was_not_asked_about(draft: DovetailDraft) -> None:
    asked = Asked(draft)
    asked.see(0, 20)
    want = [asked.ask(*path) for path in ((), (5,), (5, 7))][-1]
    asked = Asked(draft)
    asked.see(0, 20)
    assert asked.ask(5, 7) == want


def test_text_in_parts_is_the_text(draft: DovetailDraft) -> None:
    asked = Asked(draft)
    asked.see(0, 20)
    want = asked.ask()
    asked = Asked(draft)
    text, asked.text = asked.text, asked.text[:1]
    for start, end in ((0, 9), (9, 10), (10, 20)):
        asked.text += text[start + 1 : end + 1]
        asked.see(start, end)
        assert asked.ready()
        got = asked.ask()
        asked.ask(3)
    assert got == want


def test_another_request_goes_on_where_one_ended(draft: DovetailDraft) -> None:
    asked = Asked(draft)
    asked.see(0, 20)
    want = asked.ask()
    asked = Asked(draft)
    whole, asked.text = asked.text, asked.text[:11]
    asked.see(0, 10)
    asked.ask()
    asked.drafter.observe_hidden(asked.text, 10, asked.hidden[10:15])
    asked.text += whole[11:15]
    asked.text = list(whole)  # the next request, of which 15 tokens are cached
    asked.see(15, 20)
    assert asked.ready()
    assert asked.ask() == want
    asked.text = [1, *whole]
    assert not asked.ready()  # nothing is known of this text
    asked.text = [1, *whole[1:]]
    asked.see(15, 20)  # of which the first 15 are not known
    assert asked.ready()
    assert asked.drafter._start == 15
    assert asked.ask() != want


def test_long_texts_are_read_from_their_last_window_on(draft: DovetailDraft) -> None:
    asked = Asked(draft, 100)
    asked.see(0, 100)
    assert asked.ready()
    assert asked.drafter._start == 100 - WINDOW
    assert asked.ask()
    assert draft.sequence.length == WINDOW
