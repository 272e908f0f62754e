"""The tensor table of GGUF files: one test for each refusal."""

import struct
from pathlib import Path

import gguf
import pytest

from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.runtime.checkpoint import ModelFile
from support.raw_gguf import (
    string,
    tensor_entry,
    write_gguf,
)
from support.refusals import refusal, unsupported


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def refused_tensors(path: Path, *tensors: bytes, num_bytes: int = 64) -> str:
    return refusal(write_gguf(path, tensors=tensors, data=bytes(num_bytes)))


def test_tensor_table_that_ends_early(path: Path) -> None:
    whole = tensor_entry("first", [8]) + tensor_entry("second", [8], offset=32)
    write_gguf(path, tensors=[whole[:-20]], num_tensors=2, alignment=1)
    assert "tensor 'second' needs" in refusal(path)


@pytest.mark.parametrize("dimensions", [(), (1, 1, 1, 1, 1)])
def test_number_of_dimensions(path: Path, dimensions: tuple[int, ...]) -> None:
    message = refused_tensors(path, tensor_entry("t", dimensions))
    assert f"has {len(dimensions)} dimensions" in message


def test_huge_number_of_dimensions(path: Path) -> None:
    stored = string("t") + struct.pack("<IQIQ", 2**32 - 1, 8, 0, 0)
    assert "has 4294967295 dimensions" in refused_tensors(path, stored)


def test_empty_tensor(path: Path) -> None:
    assert "empty shape (0, 8)" in refused_tensors(path, tensor_entry("t", [8, 0]))


@pytest.mark.parametrize(
    "dimensions", [(2**32, 2**32), (2**63, 2), (2**62, 1, 4, 2**61), (32, 2**59), (2**64 - 1,)]
)
def test_sizes_that_overflow_64_bits(path: Path, dimensions: tuple[int, ...]) -> None:
    """Each product of sizes or bytes is small modulo 2**64."""
    assert "file is truncated" in refused_tensors(path, tensor_entry("t", dimensions))


def test_unknown_type(path: Path) -> None:
    assert "unknown type 77" in refused_tensors(path, tensor_entry("t", [8], type_id=77))


@pytest.mark.parametrize(("type_id", "name"), [(19, "IQ1_S"), (26, "I32"), (31, "Q4_0_4_4")])
def test_type_that_is_not_implemented(path: Path, type_id: int, name: str) -> None:
    write_gguf(path, tensors=[tensor_entry("t", [256], type_id=type_id)], data=bytes(64))
    message = unsupported(path)
    assert f"tensor 't' is stored as {name}" in message
    assert "Q4_K" in message


@pytest.mark.parametrize("ggml_type", [kind for kind in gguf.GGMLQuantizationType if kind <= 41])
def test_every_ggml_type_is_opened_or_named(path: Path, ggml_type: int) -> None:
    write_gguf(path, tensors=[tensor_entry("t", [256], type_id=ggml_type)], data=bytes(2048))
    name = gguf.GGMLQuantizationType(ggml_type).name
    if name in QuantType.__members__:
        assert ModelFile.open(path).tensors["t"].quant_type is QuantType[name]
    else:
        assert f"is stored as {name}, which" in unsupported(path)


def test_part_of_a_block(path: Path) -> None:
    message = refused_tensors(path, tensor_entry("t", [48], type_id=2))
    assert "rows of 48 columns" in message


def test_unaligned_offset(path: Path) -> None:
    assert "multiple of the alignment 32" in refused_tensors(path, tensor_entry("t", [1], offset=8))


@pytest.mark.parametrize("offset", [64, 2**40, 2**63, 2**64 - 32])
def test_offset_beyond_the_file(path: Path, offset: int) -> None:
    assert "file is truncated" in refused_tensors(path, tensor_entry("t", [8], offset=offset))


@pytest.mark.parametrize("missing", [1, 31, 64])
def test_truncated_file_says_how_much_is_missing(path: Path, missing: int) -> None:
    message = refused_tensors(path, tensor_entry("t", [16]), num_bytes=64 - missing)
    assert f"tensor 't' ends {missing} bytes after the file does" in message


def test_overlapping_tensors(path: Path) -> None:
    tensors = tensor_entry("a", [9]), tensor_entry("b", [8], offset=32)
    assert "'a' and 'b' overlap" in refused_tensors(path, *tensors)
    same = tensor_entry("a", [8]), tensor_entry("b", [8])
    assert "overlap" in refused_tensors(path, *same)


def test_tensor_name_twice(path: Path) -> None:
    tensors = tensor_entry("t", [8]), tensor_entry("t", [8], offset=32)
    assert "tensor 't' is there twice" in refused_tensors(path, *tensors)


def test_tensor_name_that_is_not_utf8(path: Path) -> None:
    assert "tensor 1 of 1 is not valid UTF-8" in refused_tensors(path, tensor_entry(b"\xff", [8]))


def test_long_and_unprintable_names_are_cut_and_escaped(path: Path) -> None:
    message = refused_tensors(path, tensor_entry("\x1b[2J" + "n" * 5000, [8], type_id=77))
    assert "\x1b" not in message
    assert len(message) < 400
