"""Damaged and hostile files are refused or load; none crashes, hangs or takes much memory."""

import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.cpu_kernels.reference.dequantize import dequantize
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.models.registry import read_model_config
from slipstream.runtime.tokenizer import Tokenizer
from support.gguf_mutator import Mutator
from support.raw_gguf import ARCHITECTURE, array_entry, write_gguf
from support.tiny_gguf import tiny_shape, write_tiny_model
from support.tiny_vocabulary import CHATML_TEMPLATE

MAX_SECONDS = 2.0
# The files have about 100 KB. The promise is 256 MB; this catches a broken limit much sooner.
MAX_EXTRA_BYTES = 16 << 20

SMALL = {"num_layers": 1, "channels": 64, "num_heads": 2, "feed_forward": 96, "head_size": 32}


@pytest.fixture(scope="module")
def mutators(tmp_path_factory: pytest.TempPathFactory) -> list[Mutator]:
    path = tmp_path_factory.mktemp("sound") / "model.gguf"
    sound = []
    for architecture, quant_type in (("qwen2", QuantType.Q8_0), ("gemma3", QuantType.IQ4_NL)):
        write_tiny_model(
            path,
            architecture=architecture,
            quant_type=quant_type,
            shape=tiny_shape(architecture, **SMALL),
            rope_scaling={"type": "yarn", "factor": 4.0, "original_context_length": 128},
            chat_template=CHATML_TEMPLATE,
            extra_metadata={"general.alignment": 32, "a.bool": True, "a.float": 0.5},
        )
        sound.append(path.read_bytes())
    return [Mutator(stored) for stored in sound]


def use_all(path: Path) -> None:
    """Open the file and read everything that loading a model would."""
    with ModelFile.open(path) as file:
        for value in file.metadata.values():
            if not isinstance(value, str | int | float):
                list(value)
        for tensor in file.tensors.values():
            assert tensor.data.shape[1] == tensor.quant_type.row_bytes(tensor.shape[-1])
            with np.errstate(all="ignore"):
                dequantize(tensor.data, tensor.quant_type)
        read_model_config(file)
        Tokenizer.from_metadata(file.metadata)


def refusal_of(path: Path) -> CheckpointError | None:
    try:
        use_all(path)
    except CheckpointError as error:
        return error
    return None


def outcomes(mutators: list[Mutator], path: Path, seeds: range) -> Counter[str]:
    """Open a mutated file for every seed; checks each time and memory, counts how it went."""
    counts: Counter[str] = Counter()
    tracemalloc.start()
    try:
        for seed in seeds:
            path.write_bytes(mutators[seed % len(mutators)].mutate(seed))
            tracemalloc.reset_peak()
            before_bytes, started = tracemalloc.get_traced_memory()[0], time.perf_counter()
            refusal = refusal_of(path)
            counts[type(refusal).__name__ if refusal else "loaded"] += 1
            assert time.perf_counter() - started < MAX_SECONDS, f"seed {seed}"
            peak_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
            assert peak_bytes < MAX_EXTRA_BYTES, f"seed {seed}"
            assert refusal is None or len(str(refusal)) < 1000, f"seed {seed}"
    finally:
        tracemalloc.stop()
    return counts


@pytest.mark.parametrize(
    "seeds", [range(500), pytest.param(range(500, 10_500), marks=pytest.mark.slow)], ids=len
)
def test_mutated_files(mutators: list[Mutator], tmp_path: Path, seeds: range) -> None:
    counts = outcomes(mutators, tmp_path / "mutated.gguf", seeds)
    print(dict(counts))
    # A mutator that always destroys the file, or never does, would test little.
    assert counts["CheckpointError"] > 0.4 * len(seeds)
    assert counts["loaded"] > 0.03 * len(seeds)
    assert counts["UnsupportedError"] > 0


def test_sound_files_load(mutators: list[Mutator], tmp_path: Path) -> None:
    path = tmp_path / "sound.gguf"
    for mutator in mutators:
        path.write_bytes(mutator.sound)
        use_all(path)


@pytest.mark.slow
def test_header_full_of_short_strings(tmp_path: Path) -> None:
    """The most objects that a header may make."""
    path = tmp_path / "strings.gguf"
    count = 2_999_999
    stored = np.zeros((count, 10), np.uint8)
    stored[:, 0] = 2
    stored[:, 8] = np.arange(count) % 95 + 32
    stored[:, 9] = np.arange(count) // 95 % 95 + 32
    write_gguf(path, [ARCHITECTURE, array_entry("words", 8, count, stored.tobytes())])
    del stored
    started_s = time.process_time()
    assert len(words_of(path)) == count
    assert time.process_time() - started_s < MAX_SECONDS
    tracemalloc.start()
    words_of(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 256 << 20


def words_of(path: Path) -> list[str]:
    with ModelFile.open(path) as file:
        return list(file.metadata["words"])
