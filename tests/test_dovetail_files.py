"""A damaged draft, or one of another model, is refused in one sentence before anything runs."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.dovetail import DraftFile
from slipstream.runtime.dovetail.draft_file import write_draft
from slipstream.runtime.errors import CheckpointError, OptionError
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options
from support.tiny_draft import write_tiny_draft
from support.tiny_gguf import write_tiny_model

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_model(path, architecture="llama", quant_type=QuantType.Q8_0)
    return path


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def no_header(data: bytes) -> bytes:
    return b"\xff" * 16 + data[16:]


def with_metadata(**changes: object) -> Callable[[bytes], bytes]:
    """Another header with these values in the draft's config, or its format."""

    def changed(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        metadata = header["__metadata__"]
        config = json.loads(metadata["config"])
        for name, value in changes.items():
            (metadata if name == "format" else config)[name] = value
        metadata["config"] = json.dumps(config)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return changed


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "not a whole safetensors file"),
        (no_header, "not a whole safetensors file"),
        (lambda data: b"", "not a whole safetensors file"),
        (lambda data: data[:8], "not a whole safetensors file"),
        (with_metadata(format="another"), "is not a Dovetail draft"),
        (with_metadata(num_blocks=0), "config is damaged"),
        (with_metadata(num_blocks="2"), "config is damaged"),
        (with_metadata(num_kv_heads=3), "config is damaged"),
        (with_metadata(rope_base=float("inf")), "config is damaged"),
        (with_metadata(more=1), "config is damaged"),
        (with_metadata(target="\x1b[2Jtiny"), "config is damaged"),
        (with_metadata(target="tiny" * 1000), "config is damaged"),
        (with_metadata(num_blocks="2" * 100_000), "config is damaged"),
        (with_metadata(num_blocks=2), "blk.1.attn_q.weight should have the shape"),
        (with_metadata(feed_forward_size=64), "should have the shape"),
        (with_metadata(vocab_size=10), "head_tokens should be"),
        (with_metadata(vocab_size=9999), "was trained for tiny llama"),
        (with_metadata(fingerprint="0"), "was trained for tiny llama"),
    ],
)
def test_damaged_drafts(
    tmp_path: Path, target: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "draft.safetensors"
    write_tiny_draft(path, target)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises((CheckpointError, OptionError), match=message) as caught:
        LLM(target, draft=str(path))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert "draft.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("fusion.norm.weight", np.full(256, np.nan, np.float32), "no numbers"),
        ("fusion.norm.weight", np.ones(255, np.float32), "should have the shape"),
        ("fusion.gate.weight", np.ones((256, 511), np.float16), "no multiple of 32"),
        ("fusion.gate.weight", np.ones((0, 32), np.float16), "float16 matrix"),
        ("fusion.gate.weight", np.ones((256, 256), np.float16), "should have the shape"),
        ("another.weight", np.ones((256, 256), np.float16), "not implemented"),
    ],
)
def test_damaged_tensors(
    tmp_path: Path, target: Path, name: str, values: np.ndarray, message: str
) -> None:
    path = tmp_path / "draft.safetensors"
    config, arrays, tokens = write_tiny_draft(path, target)
    write_draft(path, config, {**arrays, name: values}, tokens)
    with pytest.raises(CheckpointError, match=message):
        LLM(target, draft=str(path))


@pytest.mark.parametrize(
    ("name", "value"),
    [("head_size", 1 << 23), ("num_blocks", (1 << 24) - 1), ("feed_forward_size", (1 << 24) - 32)],
)
def test_sizes_that_the_matrices_do_not_have(
    tmp_path: Path, target: Path, name: str, value: int
) -> None:
    path = tmp_path / "draft.safetensors"
    config, arrays, tokens = write_tiny_draft(path, target)
    write_draft(path, replace(config, **{name: value}), arrays, tokens)
    with pytest.raises(CheckpointError, match="should have the shape"):
        LLM(target, draft=str(path))


def test_a_deeply_nested_config(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "draft.safetensors"
    config, arrays, _ = write_tiny_draft(path, target)
    save_file(arrays, path, metadata={**config.to_metadata(), "config": "[" * 100_000})
    with pytest.raises(CheckpointError, match="config is damaged"):
        DraftFile.open(path)


@pytest.mark.parametrize("tokens", [[], [1, 1], [-1], [100_000]])
def test_damaged_head_tokens(tmp_path: Path, target: Path, tokens: list[int]) -> None:
    path = tmp_path / "draft.safetensors"
    config, arrays, _ = write_tiny_draft(path, target)
    write_draft(path, config, arrays, np.array(tokens, np.int32))
    with pytest.raises(CheckpointError, match="head_tokens should be different token ids"):
        DraftFile.open(path)


def test_a_draft_of_another_model(tmp_path: Path, target: Path) -> None:
    """A quantisation of the same model is no other model."""
    path, other = tmp_path / "draft.safetensors", tmp_path / "other.gguf"
    write_tiny_draft(path, target)
    write_tiny_model(other, architecture="llama", quant_type=QuantType.Q8_0, seed=9)
    with pytest.raises(OptionError, match=r"draft\.safetensors was trained for tiny llama"):
        LLM(other, draft=str(path))
    with pytest.raises(CheckpointError, match=r"missing\.safetensors is not a file"):
        LLM(target, draft=tmp_path / "missing.safetensors")
    with pytest.raises(CheckpointError, match="is not a file"):
        DraftFile.open(tmp_path)


def test_drafts_and_drafters_that_do_not_meet() -> None:
    options = Options(draft="a.safetensors")
    assert replace(options, speculate="ngram+dovetail").draft == "a.safetensors"
    with pytest.raises(OptionError, match="add dovetail to the drafters"):
        replace(options, speculate="model")
    with pytest.raises(OptionError, match="add model to the drafters"):
        replace(options, speculate="dovetail", draft="a.gguf")
    with pytest.raises(OptionError, match="trained for the model"):
        replace(options, speculate="dovetail", draft=None)
    with pytest.raises(OptionError, match="needs a model"):
        replace(options, speculate="model+dovetail")
