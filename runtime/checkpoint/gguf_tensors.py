"""The table of tensors in a GGUF file: names, shapes and types, and views of their bytes."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from slipstream.cpu_kernels.quant_types import QuantType
from slipstream.runtime.checkpoint.byte_reader import ByteReader, shown
from slipstream.runtime.checkpoint.tensor import Tensor
from slipstream.runtime.errors import CheckpointError, UnsupportedError

_MAX_DIMENSIONS = 4

# Types that ggml has or had, and that `QuantType` has not.
_UNSUPPORTED_TYPES = {
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K",
    16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
    31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 34: "TQ1_0", 35: "TQ2_0",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One line of the table. `offset` counts from the start of the tensor data."""

    name: str
    quant_type: QuantType
    shape: tuple[int, ...]
    offset: int

    @property
    def num_rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        return self.quant_type.row_bytes(self.shape[-1])

    @property
    def end(self) -> int:
        return self.offset + self.num_rows * self.row_bytes


def read_tensors(reader: ByteReader, num_tensors: int, alignment: int) -> dict[str, Tensor]:
    """Every tensor by name, in the order of the file; the cursor is at the start of the table.

    Raises CheckpointError when the table or a tensor does not fit in the file, when names repeat or
    tensors overlap, and UnsupportedError for a tensor type that is not implemented.
    """
    entries: dict[str, _Entry] = {}
    for tensor_id in range(num_tensors):
        reader.reading = f"tensor {tensor_id + 1} of {num_tensors}"
        entry = _read_entry(reader)
        if entry.name in entries:
            raise reader.error("is there twice; the file is damaged")
        if entry.offset % alignment:
            raise reader.error(
                f"starts at offset {entry.offset}, which is no multiple of the alignment "
                f"{alignment}; the file is damaged"
            )
        entries[entry.name] = entry
    data_start = -(-reader.position // alignment) * alignment
    _check_ranges(reader, list(entries.values()), data_start)
    whole_file = np.frombuffer(reader.buffer, np.uint8)
    return {name: _view(entry, whole_file, data_start) for name, entry in entries.items()}


def _read_entry(reader: ByteReader) -> _Entry:
    name = reader.text()
    reader.reading = f"tensor {shown(name)}"
    num_dimensions = reader.uint32()
    if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
        raise reader.error(
            f"has {num_dimensions} dimensions, expected 1 to {_MAX_DIMENSIONS}; the file is damaged"
        )
    shape = tuple(reader.uint64() for _ in range(num_dimensions))[::-1]
    if 0 in shape:
        raise reader.error(f"has the empty shape {shape}; the file is damaged")
    quant_type = _quant_type(reader, reader.uint32())
    if shape[-1] % quant_type.block_columns:
        raise reader.error(
            f"has rows of {shape[-1]} columns, which is no multiple of the "
            f"{quant_type.block_columns} that a {quant_type.name} block holds; the file is damaged"
        )
    return _Entry(name=name, quant_type=quant_type, shape=shape, offset=reader.uint64())


def _quant_type(reader: ByteReader, type_id: int) -> QuantType:
    if type_id in _UNSUPPORTED_TYPES:
        raise UnsupportedError(
            f"{reader.path}: {reader.reading} is stored as {_UNSUPPORTED_TYPES[type_id]}, which is "
            f"not implemented; use a file with any of {', '.join(QuantType.__members__)}"
        )
    try:
        return QuantType.from_id(type_id)
    except ValueError:
        raise reader.error(f"has the unknown type {type_id}; the file is damaged") from None


def _check_ranges(reader: ByteReader, entries: list[_Entry], data_start: int) -> None:
    """Raise CheckpointError unless the tensors lie in the file without sharing a byte."""
    by_offset = sorted(entries, key=lambda entry: entry.offset)
    for entry, following in pairwise(by_offset):
        if entry.end > following.offset:
            raise CheckpointError(
                f"{reader.path}: the tensors {shown(entry.name)} and {shown(following.name)} "
                "overlap; the file is damaged"
            )
    if by_offset and data_start + by_offset[-1].end > reader.size:
        missing = data_start + by_offset[-1].end - reader.size
        raise CheckpointError(
            f"{reader.path}: the file is truncated: tensor {shown(by_offset[-1].name)} ends "
            f"{missing} bytes after the file does; fetch it again"
        )


def _view(entry: _Entry, whole_file: np.ndarray, data_start: int) -> Tensor:
    data = whole_file[data_start + entry.offset : data_start + entry.end]
    return Tensor(
        name=entry.name,
        quant_type=entry.quant_type,
        shape=entry.shape,
        data=data.reshape(entry.num_rows, entry.row_bytes),
    )
