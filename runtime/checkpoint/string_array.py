"""A list of strings in a mapped file, decoded when they are asked for."""

import mmap
import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np

from slipstream.runtime.checkpoint.byte_reader import ByteReader
from slipstream.runtime.errors import CheckpointError

_LENGTH = struct.Struct("<Q")


class StringArray(Sequence[str]):
    """Strings by index.

    Raises CheckpointError, when one is read, if it is not UTF-8.
    """

    __slots__ = ("_buffer", "_label", "_starts")

    def __init__(self, buffer: mmap.mmap, starts: "array[int]", label: str) -> None:
        """`starts` holds where each string starts, and where one more would."""
        self._buffer = buffer
        self._starts = starts
        self._label = label

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} strings")
        index %= len(self)
        # The eight bytes before the next string are its length.
        stored = self._buffer[self._starts[index] : self._starts[index + 1] - 8]
        try:
            return str(stored, "utf-8")
        except UnicodeDecodeError as error:
            raise self._not_text(index, error) from None

    @property
    def stored(self) -> np.ndarray:
        """As the file has them: each after its length in bytes as 64 bits."""
        begin = self._starts[0] - _LENGTH.size
        num_bytes = self._starts[-1] - _LENGTH.size - begin
        return np.frombuffer(self._buffer, np.uint8, num_bytes, begin)

    def __iter__(self) -> Iterator[str]:
        buffer, start = self._buffer, self._starts[0]
        for index, following in enumerate(islice(self._starts, 1, None)):
            try:
                yield str(buffer[start : following - 8], "utf-8")
            except UnicodeDecodeError as error:
                raise self._not_text(index, error) from None
            start = following

    def _not_text(self, index: int, error: UnicodeDecodeError) -> CheckpointError:
        return CheckpointError(f"{self._label}: entry {index} is not UTF-8 text: {error.reason}")


def read_string_array(reader: ByteReader, count: int, label: str) -> StringArray:
    """Walk over `count` strings, checking each length, without decoding them.

    label : names the array in errors that reading an entry raises later
    Raises CheckpointError when they do not fit in the file. 300,000 strings take about 40 ms.
    """
    first = reader.position
    starts = _starts(reader, count)
    num_bytes = starts[-1] - 8 - first
    reader.skip(num_bytes)
    reader.spend_text(num_bytes - 8 * count)
    return StringArray(reader.buffer, starts, label)


def _starts(reader: ByteReader, count: int) -> "array[int]":
    """Where each string starts, and where one more would."""
    unpack, buffer, position = _LENGTH.unpack_from, reader.buffer, reader.position
    starts = array("Q", [position + 8])
    for index in range(count):
        if position + 8 <= reader.size:
            position += unpack(buffer, position)[0]
        position += 8
        if position > reader.size:
            raise reader.error(
                f"should hold {count} strings, but the file ends in string {index}; "
                "it is truncated or damaged, fetch it again"
            )
        starts.append(position + 8)
    return starts
