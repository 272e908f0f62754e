"""What a sound model file gives: metadata, tensors, typed values."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError
from support.raw_gguf import (
    ARCHITECTURE,
    array_entry,
    bool_entry,
    entry,
    number_array_entry,
    string,
    tensor_entry,
    uint32_entry,
    write_gguf,
)
from support.tiny_gguf import ARCHITECTURES, write_tiny_model

STRING, ARRAY = 8, 9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("quant_type", [QuantType.F16, QuantType.Q4_K, QuantType.MXFP4])
def test_tensors_equal_those_that_gguf_reads(
    path: Path, architecture: str, quant_type: QuantType
) -> None:
    write_tiny_model(path, architecture=architecture, quant_type=quant_type)
    with ModelFile.open(path) as file:
        assert file.architecture == architecture
        assert file.size_bytes == path.stat().st_size
        theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
        assert list(file.tensors) == list(theirs)
        for name, tensor in file.tensors.items():
            assert tensor.name == name
            assert tensor.quant_type.value == theirs[name].tensor_type
            assert tensor.shape == tuple(reversed(theirs[name].shape.tolist()))
            assert tensor.num_bytes == theirs[name].n_bytes
            row_bytes = tensor.quant_type.row_bytes(tensor.shape[-1])
            np.testing.assert_array_equal(
                tensor.data, theirs[name].data.view(np.uint8).reshape(-1, row_bytes)
            )


def test_metadata_of_every_type(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    numbers = {
        "uint8": 255, "int8": -128, "uint16": 65535, "int16": -32768, "uint32": 2**32 - 1,
        "int32": -(2**31), "uint64": 2**64 - 1, "int64": -(2**63), "float32": 0.5, "float64": 1e300,
        "bool": True,
    }  # fmt: skip
    for kind, value in numbers.items():
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    writer.add_string("a.string", "naïve 日本 \0 🦙")
    writer.add_array("a.texts", ["x", "", "日本"])
    writer.add_array("a.floats", [0.5, -1.5])
    writer.add_array("a.bools", [True, False])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    metadata = ModelFile.open(path).metadata
    for kind, value in numbers.items():
        assert metadata[f"a.{kind}"] == value
        assert type(metadata[f"a.{kind}"]) is type(value)
    assert metadata["a.string"] == "naïve 日本 \0 🦙"
    assert list(metadata["a.texts"]) == ["x", "", "日本"]
    assert metadata["a.floats"].tolist() == [0.5, -1.5]
    assert metadata["a.bools"].tolist() == [True, False]


def test_string_array_is_a_sequence(path: Path) -> None:
    words = ["zero", "", "zwei", "drei 三", "x" * 300]
    stored = b"".join(map(string, words))
    write_gguf(path, [ARCHITECTURE, array_entry("words", STRING, len(words), stored)])
    array = ModelFile.open(path).metadata["words"]
    assert list(array) == words
    assert [array[index] for index in range(-5, 5)] == words + words
    assert array[1:4] == words[1:4]
    assert array[::-2] == words[::-2]
    assert array.index("zwei") == 2
    assert "vier" not in array
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"index {index} of 5"):
            array[index]


def test_empty_string_array(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, array_entry("words", STRING, 0, b"")])
    assert list(ModelFile.open(path).metadata["words"]) == []


def test_nothing_can_be_written_through(path: Path) -> None:
    write_gguf(
        path,
        [ARCHITECTURE, number_array_entry("numbers", [1, 2])],
        [tensor_entry("t", [8])],
        data=bytes(32),
    )
    file = ModelFile.open(path)
    for array in (file.tensors["t"].data, file.metadata["numbers"]):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        file.tensors["t"].data.flags.writeable = True
    with pytest.raises(TypeError):
        file.metadata["new"] = 1  # type: ignore[index]


def test_version_2(path: Path) -> None:
    write_gguf(path, version=2)
    assert ModelFile.open(path).architecture == "llama"


def test_shape_is_in_numpy_order_and_rows_are_counted(path: Path) -> None:
    write_gguf(path, tensors=[tensor_entry("t", [64, 3, 2], type_id=8)], data=bytes(2 * 3 * 68))
    tensor = ModelFile.open(path).tensors["t"]
    assert tensor.shape == (2, 3, 64)
    assert tensor.data.shape == (6, 68)


def test_other_alignment_gaps_and_trailing_bytes(path: Path) -> None:
    entries = [ARCHITECTURE, uint32_entry("general.alignment", 256)]
    tensors = [tensor_entry("late", [1], offset=512), tensor_entry("early", [2])]
    data = struct.pack("<2f504x1f100x", 1.0, 2.0, 3.0)
    write_gguf(path, entries, tensors, data=data, alignment=256)
    file = ModelFile.open(path)
    assert file.tensors["early"].data.view("<f4").tolist() == [[1.0, 2.0]]
    assert file.tensors["late"].data.view("<f4").tolist() == [[3.0]]


def test_closed_file_says_so_and_views_stay_valid(path: Path) -> None:
    write_gguf(path, tensors=[tensor_entry("t", [8])], data=struct.pack("<8f", *range(8)))
    with ModelFile.open(path) as file:
        data = file.tensors["t"].data
    for attribute in ("tensors", "metadata"):
        with pytest.raises(ValueError, match="is closed"):
            getattr(file, attribute)
    assert data.view("<f4").sum() == 28


# Typed access


@pytest.fixture
def typed(path: Path) -> ModelFile:
    entries = [
        ARCHITECTURE,
        uint32_entry("count", 7),
        uint32_entry("huge", 2**32 - 1),
        bool_entry("flag", 1),
        entry("ratio", 6, struct.pack("<f", 0.5)),
        entry("infinite", 6, struct.pack("<f", float("inf"))),
        number_array_entry("list", [3, -4]),
        array_entry("texts", STRING, 1, string("x")),
    ]
    return ModelFile.open(write_gguf(path, entries))


def test_typed_values(typed: ModelFile) -> None:
    assert typed.get_int("count") == 7
    assert typed.get_int("missing", None) is None
    assert typed.get_int("huge", maximum=2**32 - 1) == 2**32 - 1
    assert typed.get_ints("count") == (7,)
    assert typed.get_ints("list", minimum=-4) == (3, -4)
    assert typed.get_float("ratio") == 0.5
    assert typed.get_float("count") == 7.0
    assert typed.get_bool("flag") is True
    assert typed.get_bool("missing", False) is False
    assert typed.get_str("general.architecture") == "llama"


@pytest.mark.parametrize(
    ("getter", "key", "expected", "got"),
    [
        ("get_int", "flag", "a whole number from 0 to 2147483647", "True"),
        ("get_int", "huge", "a whole number from 0 to 2147483647", "4294967295"),
        ("get_int", "general.architecture", "a whole number", "the text 'llama'"),
        ("get_ints", "list", "whole numbers from 0", "a list of 2 int32 values"),
        ("get_ints", "texts", "whole numbers", "a list of texts"),
        ("get_float", "infinite", "a finite number", "inf"),
        ("get_float", "flag", "a finite number", "True"),
        ("get_bool", "count", "true or false", "7"),
        ("get_str", "list", "text", "a list of 2 int32 values"),
    ],
)
def test_wrong_values_are_described(
    typed: ModelFile, getter: str, key: str, expected: str, got: str
) -> None:
    for default in ((), (None,)):
        with pytest.raises(CheckpointError) as caught:
            getattr(typed, getter)(key, *default)
        assert f"{key!r} should be {expected}" in str(caught.value)
        assert str(caught.value).endswith(f"got {got}")


@pytest.mark.parametrize("getter", ["get_int", "get_ints", "get_float", "get_bool", "get_str"])
def test_a_missing_key_is_named(typed: ModelFile, getter: str) -> None:
    with pytest.raises(CheckpointError, match=r"has no key 'llama\.block_count'"):
        getattr(typed, getter)("llama.block_count")
