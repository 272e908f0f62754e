"""The metadata of a GGUF file: keys, each with a number, a text or a list of them.

Source: the GGUF specification, versions 2 and 3 (their layouts are the same).
"""

import struct
from typing import Any

import numpy as np

from slipstream.runtime.checkpoint.byte_reader import ByteReader, shown
from slipstream.runtime.checkpoint.string_array import read_string_array
from slipstream.runtime.errors import UnsupportedError

_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS = {  # value type in the file -> layout; NumPy reads the same codes
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}

# All lists together. A vocabulary of 262,144 tokens with scores, types and merges has 1.3 million.
# Walking over this many takes about a third of a second.
MAX_LIST_ENTRIES = 3_000_000


def read_metadata(reader: ByteReader, num_keys: int) -> dict[str, Any]:
    """Every key with its value: int, float, bool, str, NumPy array or StringArray.

    Raises CheckpointError for anything that the format does not allow or the file does not hold,
    and UnsupportedError for a list of lists.
    """
    metadata: dict[str, Any] = {}
    list_entries_left = MAX_LIST_ENTRIES
    for key_id in range(num_keys):
        reader.reading = f"metadata key {key_id + 1} of {num_keys}"
        key = reader.text()
        reader.reading = f"metadata key {shown(key)}"
        if key in metadata:
            raise reader.error("is there twice; the file is damaged")
        value_type = reader.uint32()
        if value_type == _ARRAY:
            value = _read_list(reader, list_entries_left)
            list_entries_left -= len(value)
        else:
            value = _read_single(reader, value_type)
        metadata[key] = value
    return metadata


def _read_single(reader: ByteReader, value_type: int) -> int | float | bool | str:
    if value_type in _NUMBERS:
        return reader.number(_NUMBERS[value_type])
    if value_type == _STRING:
        return reader.text()
    if value_type == _BOOL:
        byte = reader.buffer[reader.skip(1)]
        if byte > 1:
            raise reader.error(f"should be true (1) or false (0), got {byte}; the file is damaged")
        return bool(byte)
    raise reader.error(f"has the unknown value type {value_type}; the file is damaged")


def _read_list(reader: ByteReader, max_entries: int) -> Any:
    entry_type, count = reader.uint32(), reader.uint64()
    if entry_type == _ARRAY:
        raise UnsupportedError(
            f"{reader.path}: {reader.reading} is a list of lists, which no supported model has"
        )
    if count > max_entries:
        raise reader.error(
            f"should hold {count} entries, which brings all lists above {MAX_LIST_ENTRIES}; "
            "the file is damaged or not a language model"
        )
    if entry_type == _STRING:
        return read_string_array(reader, count, f"{reader.path}: {reader.reading}")
    if entry_type == _BOOL:
        return _read_bools(reader, count)
    if entry_type in _NUMBERS:
        layout = _NUMBERS[entry_type]
        start = reader.skip(count * layout.size)
        values = np.frombuffer(reader.buffer, layout.format, count, start).copy()
        values.flags.writeable = False
        return values
    raise reader.error(f"is a list of the unknown type {entry_type}; the file is damaged")


def _read_bools(reader: ByteReader, count: int) -> np.ndarray:
    stored = np.frombuffer(reader.buffer, np.uint8, count, reader.skip(count))
    if count and stored.max() > 1:
        raise reader.error(f"should be true (1) or false (0), got {stored.max()}; it is damaged")
    values = stored.astype(np.bool_)
    values.flags.writeable = False
    return values
