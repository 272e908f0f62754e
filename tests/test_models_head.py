"""A model that gives logits of its first tokens only."""

from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.backends import load_backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import Model, StepRunner, load_model, read_model_config
from slipstream.runtime.step_batch import StepBatch
from support.tiny_gguf import write_tiny_model


def logits_of(model: Model) -> np.ndarray:
    config = model.config
    cache = KVCache(
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_size=config.head_size,
        num_tokens=64,
    )
    runner = StepRunner(model, cache, load_backend("numba"))
    return runner.logits(StepBatch.linear([(cache.open(), 0, [5, 6, 7])], range(3))).copy()


@pytest.mark.parametrize("head_rows", [16, 100, 10_000])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_the_first_tokens(tmp_path: Path, head_rows: int, tied: bool) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q8_0, tied=tied)
    backend = load_backend("numba")
    backend.ops.prepare({QuantType.Q8_0, QuantType.F32})
    with ModelFile.open(path) as file:
        config = read_model_config(file)
        whole = logits_of(load_model(file, config, backend))
        first = logits_of(load_model(file, config, backend, head_rows=head_rows))
    assert first.shape == (3, min(head_rows, config.vocab_size))
    np.testing.assert_array_equal(first, whole[:, :head_rows])
