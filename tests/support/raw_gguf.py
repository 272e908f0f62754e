"""GGUF files put together byte by byte, so that any part of one can be wrong."""

import struct
from collections.abc import Sequence
from pathlib import Path

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def string(text: str | bytes) -> bytes:
    """A length and the bytes."""
    stored = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(stored)) + stored


def entry(key: str | bytes, value_type: int, value: bytes) -> bytes:
    """One metadata entry with the bytes of its value."""
    return string(key) + struct.pack("<I", value_type) + value


def string_entry(key: str | bytes, text: str | bytes) -> bytes:
    return entry(key, STRING, string(text))


def uint32_entry(key: str, value: int) -> bytes:
    return entry(key, UINT32, struct.pack("<I", value))


def bool_entry(key: str, byte: int) -> bytes:
    return entry(key, BOOL, bytes([byte]))


def array_entry(key: str, entry_type: int, count: int, stored: bytes) -> bytes:
    return entry(key, ARRAY, struct.pack("<IQ", entry_type, count) + stored)


def number_array_entry(key: str, values: Sequence[int]) -> bytes:
    return array_entry(key, INT32, len(values), struct.pack(f"<{len(values)}i", *values))


def tensor_entry(
    name: str | bytes, dimensions: Sequence[int], type_id: int = 0, offset: int = 0
) -> bytes:
    """One line of the tensor table; dimensions in the file's order, columns first."""
    return (
        string(name)
        + struct.pack("<I", len(dimensions))
        + struct.pack(f"<{len(dimensions)}Q", *dimensions)
        + struct.pack("<IQ", type_id, offset)
    )


ARCHITECTURE = string_entry("general.architecture", "llama")


def write_gguf(
    path: Path,
    entries: Sequence[bytes] = (ARCHITECTURE,),
    tensors: Sequence[bytes] = (),
    *,
    data: bytes = b"",
    version: int = 3,
    alignment: int = 32,
    num_entries: int | None = None,
    num_tensors: int | None = None,
) -> Path:
    """Write these parts after a header with their counts, or with other counts; returns `path`."""
    header = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(tensors) if num_tensors is None else num_tensors,
        len(entries) if num_entries is None else num_entries,
    )
    table = header + b"".join(entries) + b"".join(tensors)
    padding = bytes(-len(table) % alignment) if tensors else b""
    path.write_bytes(table + padding + data)
    return path
