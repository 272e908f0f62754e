"""The benchmarks of whole models on a GPU, on a stand-in for one: what they print is true."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slipstream.cpu_kernels import QuantType
from support.standin_gpu import MB, StandinGpu, room, streaming_budget, use
from support.tiny_gguf import tiny_shape, write_tiny_model

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")
FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path, shape = tmp_path / "tiny.gguf", tiny_shape("qwen2", num_layers=6)
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q4_K, shape=shape)
    return path


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(
    module: ModuleType,
    arguments: list[str],
    patch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Any:
    patch.setattr(sys, "argv", [module.__name__, *arguments])
    module.main()
    return json.loads(capsys.readouterr().out)


def test_models(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"task_id": f"HumanEval/{i}", "prompt": "the and on " * (3 + i)} for i in range(2)]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    gpu = StandinGpu(room(1000 * MB))
    use(gpu, monkeypatch)
    module = benchmark("gpu_models")
    monkeypatch.setattr(module, "CONTEXT", 512)
    asked = [str(path), "--vram", "0", str(room(900 * MB)), "--prompts", str(prompts)]
    made = report(module, [*asked, "--max-tokens", "20"], monkeypatch, capsys)
    on_cpu, on_gpu = made["sides"]
    assert on_cpu["vram_peak_bytes"] == on_cpu["link_bytes_per_token"] == 0
    assert on_gpu["gpu_layers"] == 6
    assert 0 < on_gpu["vram_peak_bytes"] <= on_gpu["vram_planned_bytes"]
    assert on_gpu["link_bytes_per_token"] > 0
    assert on_cpu["equal_answers"] == on_gpu["equal_answers"] == 1


def test_streaming(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(StandinGpu(room(1000 * MB)), monkeypatch)
    module = benchmark("gpu_streaming")
    monkeypatch.setattr(module, "VOCABULARY", range(3, 40))
    monkeypatch.setattr(module, "LENGTHS", (16, 64, 400))
    asked = [str(path), "--vram", str(streaming_budget(path, 5)), "--context", "512"]
    made = report(module, [*asked, "--repeats", "1"], monkeypatch, capsys)
    assert [row["tokens"] for row in made["lengths"]] == [16, 64, 400]
    assert all(row["in_place_s"] > 0 < row["streamed_s"] for row in made["lengths"])
    assert made["streamed_layers"] > 0


@pytest.mark.parametrize(
    ("saved", "want"), [([-1, -1, -1], None), ([1, 1, 1], 16), ([-1, -1, 3], 160), ([-2, 2, 3], 64)]
)
def test_where_two_lines_cross(saved: list[float], want: float | None) -> None:
    rows = [
        {"tokens": tokens, "in_place_s": 5 + each, "streamed_s": 5.0}
        for tokens, each in zip((16, 112, 304), saved, strict=True)
    ]
    assert benchmark("gpu_streaming").crossover(rows) == want
