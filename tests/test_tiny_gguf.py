"""The tiny models that other tests run on: reproducible, and sound to llama.cpp."""

from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels.quant_types import QuantType
from support.tiny_gguf import ARCHITECTURES, write_tiny_model
from support.tiny_vocabulary import CHATML_TEMPLATE

LLAMA3 = {
    "type": "llama3",
    "factor": 8.0,
    "original_context_length": 128,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def test_equal_arguments_write_equal_bytes(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    write_tiny_model(first, architecture="qwen3", quant_type=QuantType.Q5_K, seed=1)
    write_tiny_model(second, architecture="qwen3", quant_type=QuantType.Q5_K, seed=1)
    write_tiny_model(other, architecture="qwen3", quant_type=QuantType.Q5_K, seed=2)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != other.read_bytes()


@pytest.mark.llamacpp
@pytest.mark.parametrize(
    "options",
    [
        *({"architecture": name} for name in ARCHITECTURES),
        *({"architecture": name, "tied": False} for name in ARCHITECTURES),
        *({"architecture": "qwen3", "quant_type": quant_type} for quant_type in QuantType),
        {"architecture": "llama", "vocabulary": "spm"},
        {"architecture": "llama", "rope_scaling": LLAMA3},
        {"architecture": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"architecture": "qwen2", "chat_template": CHATML_TEMPLATE},
        {"architecture": "qwen2", "embedding_type": QuantType.Q8_0, "quant_type": QuantType.Q4_K},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values())[:60],
)
def test_llama_cpp_runs_it(tmp_path: Path, options: dict[str, object]) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, **options)
    model = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, logits_all=True, verbose=False)
    text = "the and 日本 on we".encode()
    ids = model.tokenize(text, add_bos=False, special=True)
    assert model.detokenize(ids) == text
    model.eval(ids)
    logits = np.array(model.scores[: len(ids)])
    model.close()
    assert np.isfinite(logits).all()
    assert 0.5 < logits.std() < 5
