"""Tiny random models of every architecture and quantisation, against two other programs.

One is the exact forward in tests/support, written apart from ours: the reference backend must agree
with it to float32 rounding, the compiled one to the rounding of activations to int8. The other is
llama.cpp, which rounds activations too; there the limits are those of the real models, and our
error against the exact logits may be at most 1.25 times llama.cpp's.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream import LLM
from slipstream.cpu_kernels import QuantType
from slipstream.runtime.options import Options
from support.exact_forward import exact_logits
from support.op_tolerances import spread_error
from support.parity import agreement, llama_cpp_logits
from support.tiny_gguf import ARCHITECTURES, tiny_shape, write_tiny_model

LINEAR = {"type": "linear", "factor": 4.0}
YARN = {"type": "yarn", "factor": 4.0, "original_context_length": 32}
LLAMA3 = {
    "type": "llama3",
    "factor": 8.0,
    "original_context_length": 128,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
CASES: list[dict[str, Any]] = [
    *({"architecture": name} for name in ARCHITECTURES),
    *({"architecture": name, "tied": False} for name in ARCHITECTURES),
    *({"architecture": name, "rope_scaling": LINEAR} for name in ARCHITECTURES),
    *({"architecture": name, "rope_scaling": YARN} for name in ("llama", "qwen2", "qwen3")),
    {"architecture": "llama", "rope_scaling": LLAMA3},
    *({"architecture": "qwen3", "quant_type": each} for each in QuantType),
    {"architecture": "gemma3", "quant_type": QuantType.Q4_K},
    {"architecture": "qwen2", "quant_type": QuantType.Q4_K, "embedding_type": QuantType.Q8_0},
]
ROUNDING = 1e-3  # of float32, and of float16 keys that fall to the other side: 5e-5 to 5e-4
INT8_ROUNDING = 0.04  # of activations, as a share of the logits' spread: 0.004 to 0.025 here
AS_LLAMA_CPP = 1.25


def case_id(case: dict[str, Any]) -> str:
    values = (value["type"] if isinstance(value, dict) else value for value in case.values())
    return "-".join(str(getattr(value, "name", value)) for value in values)


each_case = pytest.mark.parametrize("case", CASES, ids=case_id)


def largest_error(got: np.ndarray, want: np.ndarray) -> float:
    """max |got - want| over the standard deviation of want."""
    return float(np.abs(got - want).max() / want.std())


def write_case(path: Path, case: dict[str, Any], length: int) -> list[int]:
    """Write the model of a case; returns `length` random tokens of its vocabulary."""
    write_tiny_model(path, **case)
    with LLM.open(path, Options(context=512), backend="reference") as llm:
        vocab_size = llm.config.vocab_size
    return np.random.default_rng(0).integers(0, vocab_size, length).tolist()


def our_logits(path: Path, ids: list[int], backend: str) -> np.ndarray:
    with LLM.open(path, Options(context=512), backend=backend) as llm:
        return llm.logits(ids)


@each_case
def test_backends_agree_with_the_exact_forward(tmp_path: Path, case: dict[str, Any]) -> None:
    path = tmp_path / "tiny.gguf"
    ids = write_case(path, case, 80)  # five windows of the tiny Gemma
    (exact,) = exact_logits(path, [ids], kv_dtype=np.float16)
    assert largest_error(our_logits(path, ids, "reference"), exact) < ROUNDING
    compiled = our_logits(path, ids, "numba")
    if case.get("quant_type", QuantType.F32).block_columns == 1:
        assert largest_error(compiled, exact) < ROUNDING
    else:
        assert spread_error(compiled, exact) < INT8_ROUNDING


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ({"architecture": "llama"}, {"rope_scaling": LINEAR}),
        ({"architecture": "llama"}, {"rope_scaling": LLAMA3}),
        ({"architecture": "qwen3", "rope_scaling": LINEAR}, {"rope_scaling": YARN}),
        ({"architecture": "qwen2"}, {"shape": tiny_shape("qwen2", rope_base=1.05e6)}),
        ({"architecture": "gemma3"}, {"shape": tiny_shape("gemma3", rope_base=1.05e6)}),
        ({"architecture": "gemma3"}, {"shape": tiny_shape("gemma3", sliding_window=17)}),
    ],
    ids=lambda value: case_id(value)[:40] if "shape" not in value else "shape",
)
def test_a_small_mistake_would_show(
    tmp_path: Path, case: dict[str, Any], change: dict[str, Any]
) -> None:
    """The same weights with a number that is 5 % or one off are told apart by the limit above."""
    path = tmp_path / "tiny.gguf"
    ids = write_case(path, case, 80)
    (right,) = exact_logits(path, [ids], kv_dtype=np.float16)
    write_tiny_model(path, **(case | change))
    (wrong,) = exact_logits(path, [ids], kv_dtype=np.float16)
    assert largest_error(wrong, right) > 5 * ROUNDING


@pytest.mark.llamacpp
@each_case
def test_agrees_with_llama_cpp(tmp_path: Path, case: dict[str, Any]) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path = tmp_path / "tiny.gguf"
    ids = write_case(path, case, 256)
    ours = our_logits(path, ids, "numba")
    (theirs,) = (logits.copy() for logits in llama_cpp_logits(path, [ids]))
    (exact,) = exact_logits(path, [ids])
    assert agreement(theirs, ours, ids).kl < 0.01
    assert spread_error(ours, exact) < AS_LLAMA_CPP * spread_error(theirs, exact)
    # Random weights give flat distributions with many near-ties. Only where llama.cpp's best token
    # leads by more than rounding can decide must ours be the same.
    best, second = np.sort(theirs, axis=1)[:, :-3:-1].T
    decided = best - second > 8 * np.sqrt(np.mean((ours - theirs) ** 2))
    assert decided.mean() > 0.5
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1))[decided].all()
