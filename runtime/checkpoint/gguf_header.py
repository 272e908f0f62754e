"""The first 24 bytes of a GGUF file, and what a file that is none of its kind looks like."""

from slipstream.runtime.checkpoint.byte_reader import ByteReader
from slipstream.runtime.errors import CheckpointError, UnsupportedError

_MAGIC = b"GGUF"
_SUPPORTED_VERSIONS = (2, 3)

# The least that an entry can take: an empty key, its type and a byte; an empty name, the number
# of dimensions, one dimension, the type and the offset.
_MIN_KEY_BYTES = 8 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8

# Each entry costs a few hundred bytes of Python objects; the largest models in use have about 2,000
# tensors and 100 keys.
MAX_ENTRIES = 65_536

_SIGNATURES = {
    b"PK\x03\x04": "a ZIP archive, such as a PyTorch checkpoint",
    b"\x1f\x8b": "gzip-compressed data",
    b"lmgg": "a GGML file from before GGUF; it has to be converted",
    b"fmgg": "a GGML file from before GGUF; it has to be converted",
    b"tjgg": "a GGML file from before GGUF; it has to be converted",
    b"version https://git-lfs": "a Git LFS pointer; the model itself was not downloaded",
    b"<": "a web page or XML, perhaps an error page saved by a download",
    b"{": "JSON text",
    b"\x00\x00\x00\x00": "zeros, as an unfinished download leaves",
}


def read_header(reader: ByteReader) -> tuple[int, int]:
    """Check the magic and version; returns the number of tensors and of metadata keys.

    Raises CheckpointError when this is not a GGUF file or the counts can't be true, and
    UnsupportedError for a version or byte order that is not implemented.
    """
    _check_magic(reader)
    reader.position = len(_MAGIC)
    version = reader.uint32()
    if version & 0xFFFF == 0 and version >> 24 in _SUPPORTED_VERSIONS:
        raise UnsupportedError(
            f"{reader.path}: the file is big-endian, only little-endian GGUF is implemented; "
            "convert it on the machine that it was made for"
        )
    if version not in _SUPPORTED_VERSIONS:
        raise UnsupportedError(
            f"{reader.path}: GGUF version {version} is not implemented, expected 2 or 3; "
            "look for a current conversion of this model"
        )
    num_tensors = _read_count(reader, "tensors", _MIN_TENSOR_BYTES)
    num_keys = _read_count(reader, "metadata keys", _MIN_KEY_BYTES)
    return num_tensors, num_keys


def _check_magic(reader: ByteReader) -> None:
    start = reader.buffer[:24]
    if start[: len(_MAGIC)] == _MAGIC:
        return
    looks_like = next((kind for mark, kind in _SIGNATURES.items() if start.startswith(mark)), None)
    if start[8:10] == b'{"':
        looks_like = "a safetensors file; it has to be converted"
    raise CheckpointError(
        f"{reader.path}: not a GGUF model file: it starts with {start[:4]!r}"
        + (f", like {looks_like}" if looks_like else "")
        + f"; expected {_MAGIC!r}"
    )


def _read_count(reader: ByteReader, what: str, min_entry_bytes: int) -> int:
    count = reader.uint64()
    if count > MAX_ENTRIES or count * min_entry_bytes > reader.bytes_left:
        raise reader.error(
            f"says that there are {count} {what}, but the {reader.bytes_left} bytes after it hold "
            f"fewer and no model has over {MAX_ENTRIES}; the file is truncated or damaged"
        )
    return count
