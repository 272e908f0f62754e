"""A model whose layers are shared out to devices gives the logits that it gives on one."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, compiled
from slipstream.runtime.backends import Backend, load_backend
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CatalogueError
from slipstream.runtime.models import (
    ARCHITECTURES,
    Devices,
    LayerDevices,
    StepRunner,
    empty_cache,
    load_model,
    read_model_config,
)
from slipstream.runtime.models.weights import Embedding
from slipstream.runtime.step_batch import StepBatch
from slipstream.runtime.tokenizer import Tokenizer
from support.interpreted_models import gpu_backend
from support.op_tolerances import spread_error
from support.stored_keys import DTYPES
from support.strict_device import strict_backend
from support.tiny_gguf import write_tiny_model

PROMPT = [5, 6, 7, 8, 9, 10, 11, 12, 13]
SPLITS = 6  # of each architecture, drawn at random


@pytest.fixture(params=ARCHITECTURES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, architecture=request.param, quant_type=QuantType.Q8_0)
    return path


def all_logits(
    path: Path,
    devices: Devices,
    kv: str = "float16",
    *,
    prompt: Sequence[int] = PROMPT,
    repeated: bool = True,
) -> Iterator[np.ndarray]:
    """Logits of a prompt in two chunks, of trees of drafts, and of tokens after their paths.

    repeated : have steps of one shape more than once
    """
    with ModelFile.open(path) as file:
        config = read_model_config(file)
        compiled.prepare({each.quant_type for each in file.tensors.values()})
        model = load_model(file, config, devices)
    cache = empty_cache(config, devices, 64, kv)
    runner, slot = StepRunner(model, cache, devices), cache.open()

    def run(batch: StepBatch, path: list[int] | None = None) -> np.ndarray:
        logits = runner.logits(batch).copy()
        cache.commit(slot, path)
        return logits

    def linear(tokens: list[int], wanted: list[int]) -> StepBatch:
        return StepBatch.linear([(slot, cache.length(slot), tokens)], wanted)

    yield run(linear(prompt[:6], [5]))
    yield run(linear(prompt[6:9], [0, 2]))  # rows that lie apart
    yield run(StepBatch.tree(slot, cache.length(slot), [9, 3, 4, 5], [-1, 0, 0, 2]), [0, 2, 3])
    if not repeated:
        return
    for token in (1, 2, 3):  # from the second on, the step of the first runs again
        yield run(linear([token], [0]))
        yield runner.hidden()
    for tokens in ([4, 5, 6], [9, 8, 7]):
        tree = StepBatch.tree(slot, cache.length(slot), tokens, [-1, 0, 0])
        yield run(tree, [0, 2])
        yield run(linear([1], [0]))


def splits(num_layers: int, one: Backend, other: Backend, seed: int) -> Iterator[LayerDevices]:
    """All on the other, then random ones."""
    rng = np.random.default_rng(seed)
    for masks in [np.ones(num_layers + 1, bool), *(rng.random((SPLITS, num_layers + 1)) < 0.5)]:
        *layers, head = (other if each else one for each in masks)
        yield LayerDevices(layers=tuple(layers), head=head)


def num_layers_of(path: Path) -> int:
    with ModelFile.open(path) as file:
        return read_model_config(file).num_layers


@pytest.mark.parametrize("kv", DTYPES)
def test_any_split_over_two_devices_has_the_bits_of_one(path: Path, kv: str) -> None:
    """Each device refuses arrays of the other, so that none is left where it was."""
    whole = list(all_logits(path, load_backend("numba"), kv))
    host = strict_backend("host", compiled, on_device=False)
    device = strict_backend("device", compiled, on_device=True)
    for devices in splits(num_layers_of(path), host, device, seed=1):
        for got, want in zip(all_logits(path, devices, kv), whole, strict=True):
            np.testing.assert_array_equal(got, want)


# A product rounds its rows to int8 on both devices, but float32 rounding before that may bring a
# number to the other side: one quant, as much as the CPU's logits differ from exact ones.
LIMITS = {QuantType.F16: 1e-3, QuantType.Q8_0: 0.04}


@pytest.fixture
def silent() -> Iterator[None]:
    """NumPy, in which the interpreter computes, warns of what memory holds that no row sees."""
    with np.errstate(all="ignore"):
        yield


@pytest.mark.gpu
@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    ("architecture", "quant_type", "kv"),
    [
        *((each, quant_type, "float16") for each in ARCHITECTURES for quant_type in LIMITS),
        ("llama", QuantType.Q8_0, "int4"),
    ],
)
def test_any_split_with_the_gpu_has_the_logits_of_the_cpu(
    architecture: str,
    quant_type: QuantType,
    kv: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All on the GPU, and a random split."""
    path, cpu, gpu = tmp_path / "tiny.gguf", load_backend("numba"), gpu_backend(monkeypatch)
    write_tiny_model(path, architecture=architecture, quant_type=quant_type)
    whole = list(all_logits(path, cpu, kv, repeated=False))
    seed = list(ARCHITECTURES).index(architecture)
    for devices in islice(splits(num_layers_of(path), cpu, gpu, seed), 2):
        for got, want in zip(all_logits(path, devices, kv, repeated=False), whole, strict=True):
            assert spread_error(got, want) < LIMITS[quant_type]


@pytest.mark.gpu
@pytest.mark.usefixtures("silent")
@pytest.mark.model
@pytest.mark.slow
def test_splits_of_a_real_model_are_as_exact_as_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """SmolLM2, all on the GPU, and a random split.

    Float32 rounding decides to which int8 a number is rounded: where the CPU's embeddings differ by
    a millionth, its logits are 0.04 to 0.11 of their spread from the exact ones.
    """
    cpu, gpu = load_backend("numba"), gpu_backend(monkeypatch)
    try:
        path = resolve("smollm2-135m")
    except CatalogueError as error:
        pytest.skip(str(error))
    with ModelFile.open(path) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata, path=path)
    prompt = tokenizer.encode("The capital of France is Paris, and the capital of Italy")

    def logits(devices: Devices) -> np.ndarray:
        return np.concatenate(list(all_logits(path, devices, prompt=prompt, repeated=False)))

    exact = logits(load_backend("reference"))
    with monkeypatch.context() as patch:
        patch.setattr(Embedding, "rows", slightly_off(Embedding.rows))
        limit = max(spread_error(logits(cpu), exact) for _ in range(16))
    for devices in islice(splits(num_layers_of(path), cpu, gpu, seed=3), 2):
        assert spread_error(logits(devices), exact) <= limit


def slightly_off(rows: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Embedding rows, each a millionth or so larger or smaller, others each time."""
    rng = np.random.default_rng(0)

    def off(embedding: Embedding, tokens: np.ndarray) -> np.ndarray:
        factors = 1 + 1e-6 * rng.standard_normal((len(tokens), 1))
        return rows(embedding, tokens) * factors.astype(np.float32)

    return off
