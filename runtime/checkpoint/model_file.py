"""An open model file: its metadata, and its tensors as views of the mapped bytes."""

import mmap
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from slipstream.runtime.checkpoint.byte_reader import ByteReader
from slipstream.runtime.checkpoint.gguf_header import read_header
from slipstream.runtime.checkpoint.gguf_metadata import read_metadata
from slipstream.runtime.checkpoint.gguf_tensors import read_tensors
from slipstream.runtime.checkpoint.tensor import Tensor
from slipstream.runtime.checkpoint.typed_metadata import TypedMetadata
from slipstream.runtime.errors import CheckpointError, UnsupportedError


class ModelFile(TypedMetadata):
    """A GGUF file, mapped into memory and checked. A context manager.

    path         : the file
    size_bytes   : its length
    architecture : what kind of model it says it is
    """

    def __init__(
        self,
        path: Path,
        size_bytes: int,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        buffer: mmap.mmap,
    ) -> None:
        """Use `ModelFile.open`. Raises CheckpointError for a file that is not one whole model."""
        super().__init__(path, MappingProxyType(metadata))
        self.size_bytes = size_bytes
        self._buffer: mmap.mmap | None = buffer
        self._tensors: Mapping[str, Tensor] | None = MappingProxyType(tensors)
        self.architecture = self.get_str("general.architecture")
        num_parts = self.get_int("split.count", 1)
        if num_parts > 1:
            raise UnsupportedError(
                f"{path}: one of {num_parts} parts of a model; join them into one file first, "
                "for example with `llama-gguf-split --merge`"
            )

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open and check a GGUF file (version 2 or 3, little-endian).

        Every count, offset, length and type is compared with the file before it is used. Nothing of
        the weights is read. Raises CheckpointError when the file is missing, unreadable, not GGUF,
        truncated or damaged; UnsupportedError when it is sound and needs what is not implemented.
        """
        path = Path(path)
        buffer = _map(path)
        reader = ByteReader(buffer, path)
        num_tensors, num_keys = read_header(reader)
        metadata = read_metadata(reader, num_keys)
        alignment = TypedMetadata(path, metadata).get_int("general.alignment", 32, minimum=1)
        if alignment.bit_count() != 1:
            raise CheckpointError(
                f"{path}: general.alignment should be a power of two, got {alignment}; "
                "the file is damaged"
            )
        return cls(
            path, reader.size, metadata, read_tensors(reader, num_tensors, alignment), buffer
        )

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensors by name, in the order of the file."""
        if self._tensors is None:
            raise ValueError(f"{self.path} is closed")
        return self._tensors

    def drop_pages(self) -> None:
        """Take the bytes read so far out of this process's memory; reading them again brings them.

        Without it a model that is repacked while it loads would count twice.
        """
        if self._buffer is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._buffer.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Let go of the file. Views taken before stay valid, and keep it mapped until they go."""
        self._metadata = self._tensors = self._buffer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _map(path: Path) -> mmap.mmap:
    """The whole file, read-only. Raises CheckpointError unless it is a file that can be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CheckpointError(f"{path} is a folder; expected a GGUF file, perhaps one in it")
        if not stat.S_ISREG(mode):
            # Opening a pipe would wait for its other end for ever.
            raise CheckpointError(f"{path} is not a regular file; expected a GGUF file")
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise CheckpointError(f"{path} is empty; expected a GGUF file, fetch it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; expected a GGUF file") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} can't be read: {error}") from error
