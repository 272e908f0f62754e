"""Prompts that a GPU reads with copies of layers have the logits and the cache of others."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, compiled
from slipstream.runtime.backends import Backend, load_backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import (
    ARCHITECTURES,
    Devices,
    LayerContents,
    LayerDevices,
    LayerStream,
    StepRunner,
    empty_cache,
    load_model,
    read_model_config,
)
from slipstream.runtime.step_batch import StepBatch
from support.interpreted_models import gpu_backend
from support.op_tolerances import spread_error
from support.strict_device import strict_backend
from support.tiny_gguf import write_tiny_model

CONTEXT = 512  # tokens of all sequences
QUANT_TYPES = (QuantType.F16, QuantType.Q4_K)


class Reader:
    """A model that reads prompts, on the GPU with copies if one is given."""

    def __init__(self, path: Path, devices: Devices, kv: str, gpu: Backend | None = None) -> None:
        contents: dict[int | None, LayerContents] = {}
        with ModelFile.open(path) as file:
            config = read_model_config(file)
            compiled.prepare({each.quant_type for each in file.tensors.values()})
            model = load_model(file, config, devices, contents=contents)
        self.cache: KVCache = empty_cache(config, devices, CONTEXT, kv)
        self.stream = LayerStream(contents, self.cache, gpu, devices) if gpu else None
        self.runner = StepRunner(model, self.cache, devices, self.stream)
        self.layer_bytes = {
            layer_id: sum(weight.num_bytes for weight in layer.weights)
            for layer_id, layer in contents.items()
        }

    def run(self, batch: StepBatch, slots: list[int], *, streamed: bool) -> np.ndarray:
        logits = self.runner.logits(batch, streamed=streamed and self.stream is not None).copy()
        for slot in slots:
            self.cache.commit(slot)
        return logits

    def logits(self) -> Iterator[np.ndarray]:
        """Of two sequences that take turns with their pages, of prompts and of what follows."""
        rng, cache = np.random.default_rng(0), self.cache
        one, other = cache.open(), cache.open()

        def tokens(slot: int, count: int) -> tuple[int, int, list[int]]:
            return slot, cache.length(slot), rng.integers(3, 40, count).tolist()

        for slot, count in ((one, 70), (other, 5), (one, 50), (other, 90), (one, 3)):
            batch = StepBatch.linear([tokens(slot, count)], [0, count - 1])
            yield self.run(batch, [slot], streamed=count > 10)
        both = StepBatch.linear([tokens(one, 40), tokens(other, 30)], [39, 69], keeps_all=True)
        yield self.run(both, [one, other], streamed=True)
        yield self.runner.hidden()
        for _ in range(2):
            yield self.run(StepBatch.linear([tokens(one, 1)], [0]), [one], streamed=False)


def shared_out(num_layers: int, host: Backend, device: Backend) -> Iterator[LayerDevices]:
    """Layers in host memory: all, one, others between those of the device."""
    for on_device in ([], [0], [num_layers - 1], range(0, num_layers, 2)):
        for head in (host, device):
            layers = tuple(device if i in on_device else host for i in range(num_layers))
            if host in layers:
                yield LayerDevices(layers=layers, head=head)


@pytest.fixture(params=ARCHITECTURES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, architecture=request.param, quant_type=QuantType.Q4_K)
    return path


@pytest.mark.parametrize("kv", ["float16", "int8", "int4"])
def test_a_streamed_prompt_has_the_bits_of_one_read_in_place(path: Path, kv: str) -> None:
    """A layer's copy has what was brought of it and noise beside; each device its own arrays."""
    host = strict_backend("host", compiled, on_device=False)
    device = strict_backend("device", compiled, on_device=True)
    whole = Reader(path, load_backend("numba"), kv)
    want = list(whole.logits())
    for devices in shared_out(whole.cache.num_layers, host, device):
        reader = Reader(path, devices, kv, device)
        for got, wanted in zip(reader.logits(), want, strict=True):
            np.testing.assert_array_equal(got, wanted)


def with_first_layer_there(path: Path, kv: str) -> Reader:
    """On the device, that is; the others are in the host's memory."""
    host = strict_backend("host", compiled, on_device=False)
    device = strict_backend("device", compiled, on_device=True)
    num_layers = Reader(path, host, kv).cache.num_layers
    devices = LayerDevices(layers=(device, *[host] * (num_layers - 1)), head=host)
    return Reader(path, devices, kv, device)


def test_all_that_is_copied_is_locked_in_memory(path: Path) -> None:
    reader = with_first_layer_there(path, "int8")
    assert reader.stream is not None
    num_layers = reader.cache.num_layers
    num_bytes = sum(array.nbytes for array in reader.stream._lock.arrays)
    pages_bytes = 0
    for layer_id in range(1, num_layers):
        pages = reader.cache.layer(layer_id)
        pages_bytes += sum(getattr(pages, each.name).nbytes for each in fields(pages))
    weights_bytes = sum(reader.layer_bytes[layer_id] for layer_id in range(1, num_layers))
    assert num_bytes == weights_bytes + pages_bytes


def test_weights_cross_the_link_once_a_step(path: Path) -> None:
    """And of the pages those that have tokens, and back those that have new ones."""
    reader = with_first_layer_there(path, "float16")
    assert reader.stream is not None
    num_layers = reader.cache.num_layers
    slot = reader.cache.open()
    pages = reader.cache.layer(1)
    page_bytes = sum(getattr(pages, each.name)[0].nbytes for each in fields(pages)[:2])
    weights_bytes = sum(reader.layer_bytes[layer_id] for layer_id in range(1, num_layers))
    for start, count, num_pages in ((0, 70, 0 + 2), (70, 20, 2 + 1), (90, 64, 2 + 2)):
        batch = StepBatch.linear([(slot, start, [5] * count)], [count - 1])
        reader.run(batch, [slot], streamed=True)
        moved = weights_bytes + (num_layers - 1) * num_pages * page_bytes
        assert reader.stream.link_bytes == moved


@pytest.mark.parametrize("at", [0, 1])
def test_a_step_that_breaks_off_leaves_nothing_behind(
    path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a copy under way, which would write into pages that others have by then."""
    host = strict_backend("host", compiled, on_device=False)
    device = strict_backend("device", compiled, on_device=True)
    whole, reader = Reader(path, host, "float16"), Reader(path, host, "float16", device)
    assert reader.stream is not None
    attention, calls = device.ops.attention, []

    def breaks_off(*given: Any, **named: Any) -> Any:
        calls.append(given)
        if len(calls) == at + 1:
            raise RuntimeError("broken off")
        return attention(*given, **named)

    slot = reader.cache.open()
    batch = StepBatch.linear([(slot, 0, [5] * 70)], [69])
    with monkeypatch.context() as patch:
        patch.setattr(device.ops, "attention", breaks_off)
        with pytest.raises(RuntimeError, match="broken off"):
            reader.run(batch, [slot], streamed=True)
    staged = {id(each): each for each in reader.stream._staged.values()}.values()
    assert all(each.num_waits for each in staged)
    reader.cache.close(slot)
    for got, want in zip(reader.logits(), whole.logits(), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.gpu
@pytest.mark.parametrize("quant_type", QUANT_TYPES)
@pytest.mark.parametrize("architecture", ["gemma3", "qwen2"])  # with all norms, with biases
def test_the_gpu_reads_prompts_with_copies_as_if_it_had_the_layers(
    architecture: str, quant_type: QuantType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first prompt's chunk and the tokens after it; float32 rounding aside, see the splits."""
    path, cpu, gpu = tmp_path / "tiny.gguf", load_backend("numba"), gpu_backend(monkeypatch)
    write_tiny_model(path, architecture=architecture, quant_type=quant_type)
    whole = Reader(path, cpu, "float16")
    num_layers = whole.cache.num_layers
    devices = LayerDevices(layers=(cpu,) * num_layers, head=cpu)
    reader = Reader(path, devices, "float16", gpu)
    with np.errstate(all="ignore"):  # NumPy, the interpreter's, warns of what no row sees
        for got, want in zip(some_logits(reader), some_logits(whole), strict=True):
            assert spread_error(got, want) < (1e-3 if quant_type == QuantType.F16 else 0.04)


def some_logits(reader: Reader) -> Iterator[np.ndarray]:
    slot = reader.cache.open()
    for count, streamed in ((40, True), (30, True), (1, False)):
        tokens = [(7 * i) % 40 + 3 for i in range(count)]
        batch = StepBatch.linear([(slot, reader.cache.length(slot), tokens)], [count - 1])
        yield reader.run(batch, [slot], streamed=streamed)
