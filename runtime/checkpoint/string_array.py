"""A list of strings in a mapped file, decoded when they are asked for."""

import functools
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

    def __init__(self, stored: np.ndarray, count: int, label: str) -> None:
        """stored : uint8, `count` strings, each after its length in bytes as 64 bits; checked"""
        self.stored = stored
        self._count = count
        self._label = label

    def __len__(self) -> int:
        return self._count

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
        return self._text(index, self._starts[index])

    @functools.cached_property
    def _starts(self) -> "array[int]":
        """Where each length begins: a vocabulary is read as a whole and needs none of them."""
        return array("Q", islice(self._lengths_at(), self._count))

    def _lengths_at(self) -> Iterator[int]:
        position, buffer = 0, self.stored.data
        while True:
            yield position
            position += _LENGTH.size + _LENGTH.unpack_from(buffer, position)[0]

    def __iter__(self) -> Iterator[str]:
        return map(self._text, range(self._count), self._lengths_at())

    def _text(self, index: int, start: int) -> str:
        begin = start + _LENGTH.size
        (length,) = _LENGTH.unpack_from(self.stored.data, start)
        try:
            return str(self.stored[begin : begin + length].data, "utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{self._label}: entry {index} is not UTF-8 text: {error.reason}"
            ) from None


def read_string_array(reader: ByteReader, count: int, label: str) -> StringArray:
    """Walk over `count` strings, checking each length, without decoding them.

    label : names the array in errors that reading an entry raises later
    Raises CheckpointError when they do not fit in the file. 300,000 strings take about 30 ms.
    """
    first = reader.position
    num_bytes = _end_of(reader, count) - first
    reader.skip(num_bytes)
    reader.spend_text(num_bytes - _LENGTH.size * count)
    return StringArray(np.frombuffer(reader.buffer, np.uint8, num_bytes, first), count, label)


def _end_of(reader: ByteReader, count: int) -> int:
    """Where the last of the strings ends that begin here."""
    unpack, buffer, position = _LENGTH.unpack_from, reader.buffer, reader.position
    size, last = reader.size, reader.size - _LENGTH.size
    for index in range(count):
        position += 8 + (unpack(buffer, position)[0] if position <= last else size)
        if position > size:
            raise reader.error(
                f"should hold {count} strings, but the file ends in string {index}; "
                "it is truncated or damaged, fetch it again"
            )
    return position
