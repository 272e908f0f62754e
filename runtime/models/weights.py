"""Takes tensors from a model file into a backend, checking that each is there and fits."""

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import Tensor
from slipstream.runtime.errors import CheckpointError, UnsupportedError
from slipstream.runtime.models.layer_contents import LayerContents
from slipstream.runtime.models.layer_devices import Devices

_LAYER = re.compile(r"blk\.(\d+)\.")  # what the names of a layer's tensors begin with
_DROP_EVERY_BYTES = 1 << 20  # of the file in memory beside its repacked copy


def layer_of(name: str) -> int | None:
    """The layer that a tensor of this name belongs to; None where it belongs to none."""
    layer = _LAYER.match(name)
    return int(layer[1]) if layer else None


class TensorFile(Protocol):
    """What a loader needs of a file, as `ModelFile` has it."""

    @property
    def path(self) -> Path: ...
    @property
    def architecture(self) -> str: ...
    @property
    def tensors(self) -> Mapping[str, Tensor]: ...
    def drop_pages(self) -> None: ...


class Embedding:
    """The rows of a token embedding, decoded from the file as they are asked for."""

    def __init__(self, tensor: Tensor, backend: Backend) -> None:
        self._tensor = tensor
        self._dequantize = backend.ops.dequantize

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        """(M, C) float32 of `tokens` (M,)."""
        rows: np.ndarray = self._dequantize(
            self._tensor.data[tokens], self._tensor.quant_type, np.float32
        )
        return rows


class WeightLoader:
    """Hands out a file's tensors by name; `finish` refuses a file with tensors that nobody took."""

    def __init__(
        self,
        file: TensorFile,
        devices: Devices,
        progress: Callable[[int, int], None] | None = None,
        head_rows: int | None = None,
    ) -> None:
        """devices : each tensor goes to its layer's, what is of no layer to the head's

        head_rows : see `load_model`
        """
        self.contents: dict[int | None, LayerContents] = {}  # what was handed out, by layer
        self._file = file
        self._head_rows = head_rows
        self._devices = devices
        self._progress = progress
        self._taken: set[str] = set()
        self._bytes_since_drop = 0

    def matrix(self, name: str, rows: int, columns: int) -> Any:
        """A packed weight of (rows, columns). Raises CheckpointError when missing or misshapen."""
        weight = self._packed(name, self._take(name, (rows, columns)), columns)
        self._contents_of(name).weights.append(weight)
        return weight

    def head(self, name: str, rows: int, columns: int) -> Any:
        """As `matrix`, of the first `head_rows` rows where that was asked for."""
        return self._packed(name, self._take(name, (rows, columns)), columns, self._head_rows)

    def stacked(self, parts: Sequence[tuple[str, int]], columns: int) -> Any:
        """One packed weight of several matrices (name, rows), one above the other."""
        weight = self._ops_of(parts[0][0]).stack_weights(
            [self._packed(name, self._take(name, (rows, columns)), columns) for name, rows in parts]
        )
        self._contents_of(parts[0][0]).weights.append(weight)
        return weight

    def split_columns(self, name: str, rows: int, widths: Sequence[int]) -> list[Any]:
        """The columns of a matrix (rows, sum of widths) as packed weights (rows, width), in order.

        Their inputs then need not be put side by side. Each width is a multiple of the columns of
        a block of the matrix's quantisation. Raises CheckpointError as `matrix` does.
        """
        tensor = self._take(name, (rows, sum(widths)))
        ends = np.cumsum([tensor.quant_type.row_bytes(width) for width in widths])
        parts = np.split(tensor.data, ends[:-1], axis=1)
        weights = [
            self._packed(name, replace(tensor, data=np.ascontiguousarray(part)), width)
            for part, width in zip(parts, widths, strict=True)
        ]
        self._contents_of(name).weights.extend(weights)
        return weights

    def embedding(self, name: str, rows: int, columns: int) -> Embedding:
        """A token embedding; its rows stay in the file."""
        return Embedding(self._take(name, (rows, columns)), self._devices.of_head)

    def vector(self, name: str, size: int) -> np.ndarray:
        """A float32 vector of `size`, in the host's memory."""
        tensor = self._take(name, (size,))
        values: np.ndarray = self._ops_of(name).dequantize(
            tensor.data, tensor.quant_type, np.float32
        )
        return np.ascontiguousarray(values.reshape(size))

    def norm(self, name: str, size: int, eps: float) -> RmsNorm:
        """The norm whose weights are the vector `name`."""
        norm = RmsNorm(weight=self._ops_of(name).from_host(self.vector(name, size)), eps=eps)
        self._contents_of(name).vectors.append(norm)
        return norm

    def optional_norm(self, name: str, size: int, eps: float) -> RmsNorm | None:
        """A norm that some files of this architecture have."""
        return self.norm(name, size, eps) if name in self._file.tensors else None

    def optional_stacked_vector(self, parts: Sequence[tuple[str, int]]) -> Any:
        """Vectors (name, size) one after another, zeros for missing ones; None where all are."""
        if not any(name in self._file.tensors for name, _ in parts):
            return None
        vectors = (
            self.vector(name, size) if name in self._file.tensors else np.zeros(size, np.float32)
            for name, size in parts
        )
        stacked = self._ops_of(parts[0][0]).from_host(np.concatenate(list(vectors)))
        self._contents_of(parts[0][0]).vectors.append(stacked)
        return stacked

    def optional_vector(self, name: str, size: int) -> np.ndarray | None:
        """A vector that some files of this architecture have, in the host's memory."""
        return self.vector(name, size) if name in self._file.tensors else None

    @property
    def names(self) -> Container[str]:
        """Names of the file's tensors."""
        return self._file.tensors.keys()

    def finish(self) -> None:
        """Raise UnsupportedError when the file has tensors that the model did not take."""
        self._file.drop_pages()
        left = [name for name in self._file.tensors if name not in self._taken]
        if left:
            raise UnsupportedError(
                f"{self._file.path}: {len(left)} tensors belong to a feature of "
                f"{self._file.architecture} models that is not implemented: {', '.join(left[:3])}"
            )

    def _contents_of(self, name: str) -> LayerContents:
        return self.contents.setdefault(layer_of(name), LayerContents())

    def _ops_of(self, name: str) -> ModuleType:
        """The ops of the device that a tensor goes to."""
        layer_id = layer_of(name)
        backend = self._devices.of_head if layer_id is None else self._devices.of_layer(layer_id)
        return backend.ops

    def _packed(self, name: str, tensor: Tensor, columns: int, most_rows: int | None = None) -> Any:
        return self._ops_of(name).pack_weight(
            tensor.data[:most_rows],
            tensor.quant_type,
            columns,
            was_read=self._drop_what_was_read,
        )

    def _drop_what_was_read(self, num_bytes: int) -> None:
        self._bytes_since_drop += num_bytes
        if self._bytes_since_drop >= _DROP_EVERY_BYTES:
            self._file.drop_pages()
            self._bytes_since_drop = 0

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self._file.tensors.get(name)
        if tensor is None:
            raise CheckpointError(f"{self._file.path}: the tensor {name} is missing")
        if tensor.shape != shape:
            raise CheckpointError(
                f"{self._file.path}: {name} should have the shape {shape}, has {tensor.shape}"
            )
        self._taken.add(name)
        if self._progress:
            self._progress(len(self._taken), len(self._file.tensors))
        return tensor
