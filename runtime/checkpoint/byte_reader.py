"""A cursor over a file's bytes that checks every read before making it."""

import mmap
import struct
from pathlib import Path

from slipstream.runtime.errors import CheckpointError

# All text of a header together. A Python str takes up to four times its UTF-8 bytes, so this keeps
# a hostile header below 128 MiB; the largest vocabularies in use have 5 MiB of text.
MAX_TEXT_BYTES = 32 << 20

_UINT32 = struct.Struct("<I")
_UINT64 = struct.Struct("<Q")


class ByteReader:
    """Reads little-endian numbers and text in order.

    Raises CheckpointError when the file ends too early or its text is not UTF-8. Every message
    names the file, and `reading`: what the caller says it is reading.
    """

    def __init__(self, buffer: mmap.mmap, path: Path) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.position = 0
        self.reading = "the header"
        self.path = path
        self._text_bytes_left = MAX_TEXT_BYTES

    @property
    def bytes_left(self) -> int:
        """Bytes between the cursor and the end of the file."""
        return self.size - self.position

    def error(self, message: str) -> CheckpointError:
        """The error to raise about what is being read."""
        return CheckpointError(f"{self.path}: {self.reading} {message}")

    def skip(self, num_bytes: int) -> int:
        """Move past bytes that must be there; returns where they start."""
        start = self.position
        if num_bytes > self.bytes_left:
            raise self.error(
                f"needs {num_bytes} bytes at byte {start}, but the file ends "
                f"{num_bytes - self.bytes_left} bytes too early; it is truncated or damaged, "
                "fetch it again"
            )
        self.position = start + num_bytes
        return start

    def number(self, layout: struct.Struct) -> int | float:
        """One number of this layout."""
        value: int | float = layout.unpack_from(self.buffer, self.skip(layout.size))[0]
        return value

    def uint32(self) -> int:
        """One unsigned 32-bit number."""
        return int(self.number(_UINT32))

    def uint64(self) -> int:
        """One unsigned 64-bit number."""
        return int(self.number(_UINT64))

    def text(self) -> str:
        """A string: its length in bytes as 64 bits, then UTF-8."""
        num_bytes = self.uint64()
        start = self.skip(num_bytes)
        self.spend_text(num_bytes)
        try:
            return str(self.buffer[start : self.position], "utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"is not valid UTF-8 text: {error.reason}") from None

    def spend_text(self, num_bytes: int) -> None:
        """Count text that will be decoded. Raises CheckpointError beyond MAX_TEXT_BYTES."""
        self._text_bytes_left -= num_bytes
        if self._text_bytes_left < 0:
            raise self.error(
                f"has {num_bytes} bytes, which brings the text of the header above "
                f"{MAX_TEXT_BYTES} bytes; the file is damaged or not a model"
            )


def shown(text: str, limit: int = 60) -> str:
    """Text from a file, quoted and escaped for a message, and cut when it is long."""
    return repr(text if len(text) <= limit else f"{text[:limit]}…")
