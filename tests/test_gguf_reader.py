"""Opening what is no sound GGUF file: one test for each refusal up to the tensor table."""

import os
import struct
from pathlib import Path

import pytest

from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError
from support.raw_gguf import (
    ARCHITECTURE,
    array_entry,
    bool_entry,
    entry,
    string,
    string_entry,
    uint32_entry,
    write_gguf,
)
from support.refusals import refusal, unsupported

STRING, ARRAY = 8, 9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


# Not a file to read


def test_missing_file(path: Path) -> None:
    assert "does not exist" in refusal(path)


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_pipe_does_not_block(path: Path) -> None:
    os.mkfifo(path)
    assert "not a regular file" in refusal(path)


def test_path_that_the_system_refuses(path: Path) -> None:
    path.symlink_to(path)
    assert "can't be read" in refusal(path)
    with pytest.raises(CheckpointError, match="null byte"):
        ModelFile.open("model\0.gguf")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_unreadable_file(path: Path) -> None:
    write_gguf(path).chmod(0)
    assert "can't be read" in refusal(path)


def test_empty_file(path: Path) -> None:
    path.touch()
    assert "is empty" in refusal(path)


@pytest.mark.parametrize(
    ("start", "looks_like"),
    [
        (b"PK\x03\x04rest", "ZIP archive"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"__metadata__"', "safetensors"),
        (b"tjgg\x01\x00\x00\x00", "before GGUF"),
        (bytes(4096), "unfinished download"),
        (b"GGU", "b'GGU'"),
        (b"hello", "b'hell'"),
    ],
)
def test_not_gguf(path: Path, start: bytes, looks_like: str) -> None:
    path.write_bytes(start)
    message = refusal(path)
    assert "not a GGUF model file" in message
    assert looks_like in message


# The header


@pytest.mark.parametrize("num_bytes", [4, 7, 8, 15, 23])
def test_cut_header(path: Path, num_bytes: int) -> None:
    path.write_bytes(write_gguf(path).read_bytes()[:num_bytes])
    assert "too early" in refusal(path)


@pytest.mark.parametrize("version", [0, 1, 4, 2**32 - 1])
def test_other_versions(path: Path, version: int) -> None:
    write_gguf(path, version=version)
    assert f"version {version} is not implemented" in unsupported(path)


def test_big_endian(path: Path) -> None:
    path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    assert "big-endian" in unsupported(path)


@pytest.mark.parametrize("count", [5, 2**31, 2**63, 2**64 - 1])
def test_more_keys_or_tensors_than_the_file_holds(path: Path, count: int) -> None:
    write_gguf(path, num_entries=count)
    assert f"there are {count} metadata keys" in refusal(path)
    write_gguf(path, num_tensors=count)
    assert f"there are {count} tensors" in refusal(path)


def test_more_tensors_than_any_model_has(path: Path) -> None:
    write_gguf(path, num_tensors=65_537)
    with path.open("r+b") as file:
        file.truncate(1 << 22)
    assert "no model has over 65536" in refusal(path)


# Metadata


def test_metadata_that_ends_early(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, string("a" * 40)])
    assert "metadata key 'aaaa" in refusal(path)
    write_gguf(path, [ARCHITECTURE, entry("ratio", 12, bytes(3))])
    assert "'ratio' needs 8 bytes" in refusal(path)
    assert "5 bytes too early" in refusal(path)


@pytest.mark.parametrize("length", [1000, 2**31, 2**63 - 1, 2**64 - 1])
def test_text_longer_than_the_file(path: Path, length: int) -> None:
    write_gguf(path, [ARCHITECTURE, entry("name", STRING, struct.pack("<Q", length) + b"short")])
    assert f"'name' needs {length} bytes" in refusal(path)


def test_text_that_is_not_utf8(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, string_entry("name", b"\xff\xfe")])
    assert "'name' is not valid UTF-8" in refusal(path)
    write_gguf(path, [ARCHITECTURE, string_entry(b"\xc3(", "value")])
    assert "key 2 of 2 is not valid UTF-8" in refusal(path)


def test_more_text_than_a_header_has(path: Path) -> None:
    num_bytes = 33 << 20
    write_gguf(path, [ARCHITECTURE, entry("name", STRING, struct.pack("<Q", num_bytes))])
    with path.open("r+b") as file:
        file.truncate(num_bytes + 4096)
    assert "text of the header above" in refusal(path)


def test_key_twice(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, ARCHITECTURE])
    assert "'general.architecture' is there twice" in refusal(path)


def test_unknown_value_types(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, entry("odd", 13, bytes(8))])
    assert "'odd' has the unknown value type 13" in refusal(path)
    write_gguf(path, [ARCHITECTURE, array_entry("odd", 99, 0, b"")])
    assert "'odd' is a list of the unknown type 99" in refusal(path)


def test_neither_true_nor_false(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, bool_entry("flag", 2)])
    assert "'flag' should be true (1) or false (0), got 2" in refusal(path)
    write_gguf(path, [ARCHITECTURE, array_entry("flags", 7, 3, b"\0\1\xff")])
    assert "'flags' should be true (1) or false (0), got 255" in refusal(path)


def test_list_of_lists(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, array_entry("lists", ARRAY, 1, bytes(16))])
    assert "'lists' is a list of lists" in unsupported(path)


@pytest.mark.parametrize("entry_type", [0, 7, 8, 10])
@pytest.mark.parametrize("count", [100, 2**20])
def test_list_longer_than_the_file(path: Path, entry_type: int, count: int) -> None:
    write_gguf(path, [ARCHITECTURE, array_entry("list", entry_type, count, bytes(50))])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("count", [3_000_001, 2**63, 2**64 - 1])
def test_list_longer_than_any_vocabulary(path: Path, count: int) -> None:
    write_gguf(path, [ARCHITECTURE, array_entry("list", STRING, count, bytes(50))])
    assert "above 3000000" in refusal(path)


def test_list_lengths_are_added_up(path: Path) -> None:
    lists = [array_entry(f"list{i}", 0, 2_000_000, bytes(2_000_000)) for i in range(2)]
    write_gguf(path, [ARCHITECTURE, *lists])
    assert "'list1' should hold 2000000 entries, which brings all lists above" in refusal(path)


@pytest.mark.parametrize("length", [100, 2**32, 2**64 - 8, 2**64 - 1])
def test_string_in_a_list_longer_than_the_file(path: Path, length: int) -> None:
    stored = string("fine") + struct.pack("<Q", length) + b"short" + string("never reached")
    write_gguf(path, [ARCHITECTURE, array_entry("words", STRING, 3, stored)])
    assert "the file ends in string 1;" in refusal(path)


def test_list_of_strings_that_ends_between_two(path: Path) -> None:
    stored = string("fine") + bytes(7)
    write_gguf(path, [ARCHITECTURE, array_entry("words", STRING, 2, stored)])
    assert "the file ends in string 1;" in refusal(path)


def test_string_in_a_list_that_is_not_utf8(path: Path) -> None:
    stored = string("fine") + string(b"\x80")
    write_gguf(path, [ARCHITECTURE, array_entry("words", STRING, 2, stored)])
    words = ModelFile.open(path).metadata["words"]
    assert words[0] == "fine"
    with pytest.raises(CheckpointError, match="'words': entry 1 is not UTF-8"):
        words[1]
    with pytest.raises(CheckpointError, match="'words': entry 1 is not UTF-8"):
        list(words)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["", "", ""],
        ["a", "", "bc\x00", "\x01\x02", "x" * 300, "日本語 \U0001f600", "\n"],
        [chr(code) for code in range(32)],  # no byte is left to part them with
    ],
    ids=["none", "empty", "all empty", "mixed", "all control bytes"],
)
def test_a_list_of_strings_read_whole_or_singly(path: Path, texts: list[str]) -> None:
    stored = b"".join(string(text.encode()) for text in texts)
    write_gguf(path, [ARCHITECTURE, array_entry("words", STRING, len(texts), stored)])
    words = ModelFile.open(path).metadata["words"]
    assert list(words) == [words[i] for i in range(len(words))] == texts


@pytest.mark.parametrize("alignment", [0, 3, 48, 2**32 - 1])
def test_alignment_that_is_no_power_of_two(path: Path, alignment: int) -> None:
    write_gguf(path, [ARCHITECTURE, uint32_entry("general.alignment", alignment)])
    assert "alignment" in refusal(path)


def test_alignment_that_is_no_number(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, string_entry("general.alignment", "32")])
    assert "'general.alignment' should be a whole number" in refusal(path)


def test_no_architecture(path: Path) -> None:
    write_gguf(path, [uint32_entry("general.quantization_version", 2)])
    assert "no key 'general.architecture'" in refusal(path)
    write_gguf(path, [uint32_entry("general.architecture", 2)])
    assert "'general.architecture' should be text, got 2" in refusal(path)


def test_one_part_of_several(path: Path) -> None:
    write_gguf(path, [ARCHITECTURE, uint32_entry("split.count", 3)])
    assert "one of 3 parts" in unsupported(path)
    write_gguf(path, [ARCHITECTURE, uint32_entry("split.count", 1)])
    assert ModelFile.open(path).architecture == "llama"
