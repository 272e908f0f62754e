"""What a download is to `pull`, wherever the bytes come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

CHUNK_BYTES = 1 << 20

Stage = Literal["found", "waiting", "downloading", "verifying"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pull is. The first event, "found", comes before any of the model's bytes."""

    model: str
    stage: Stage
    done_bytes: int
    total_bytes: int
    licence: str
    licence_terms: str  # a notice to show, or where the terms are; may be empty


class Source(Protocol):
    """One model file that can be fetched, and how to know that it is whole."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def licence_terms(self) -> str: ...
    @property
    def scratch_bytes(self) -> int:
        """Room needed for a while beside the file itself."""

    @property
    def record(self) -> Mapping[str, Any] | None:
        """What to remember beside the file; None when the catalogue says it all."""

    def fetch(self, part: BinaryIO, scratch: Path, report: Callable[[int], None]) -> None:
        """Complete `part`, which holds the bytes that an earlier try left, to `size_bytes`.

        scratch : a folder that the source may create and fill; the caller removes it
        report  : is told how many bytes of the file are here
        Raises DownloadError. What was written to `part` before then is kept and resumed from.
        """
