"""Fetches a file from the Hugging Face hub, or the mirror that HF_ENDPOINT names.

`hf_hub_download` drops its partial file when it is interrupted, so only its building blocks are
used: they honour HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and the proxy settings.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Self

from huggingface_hub import (
    ModelInfo,
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
    model_info,
)
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from slipstream.runtime.catalogue.names import HubName
from slipstream.runtime.catalogue.source import CHUNK_BYTES
from slipstream.runtime.errors import DownloadError

# The base of every error of the HTTP library in use, which differs between versions of the hub's.
HTTPError: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
NUM_RETRIES = 3  # in a row, without a byte received
RETRY_WAIT_S = 1.0
LICENCE_NOT_STATED = "not stated by the repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """One file of one commit of a hub repository."""

    name: HubName
    commit: str
    size_bytes: int
    sha256: str
    licence: str
    licence_terms: str
    scratch_bytes: int = 0

    @classmethod
    def find(cls, name: HubName) -> Self:
        """Ask the hub about `name`; raises DownloadError when it has no such file for us."""
        try:
            metadata = get_hf_file_metadata(hf_hub_url(name.repo_id, name.file))
        except (OSError, ValueError, HTTPError) as error:
            raise refusal(name, error) from error
        sha256 = metadata.etag or ""
        if not SHA256_PATTERN.fullmatch(sha256) or not metadata.size:
            raise DownloadError(
                f"The hub states no size and SHA-256 for {name}, so a download could not be "
                "verified: fetch the file by other means and give its path."
            )
        licence, licence_terms = find_licence(name)
        return cls(
            name=name,
            commit=metadata.commit_hash or "main",
            size_bytes=metadata.size,
            sha256=sha256,
            licence=licence,
            licence_terms=licence_terms,
        )

    @property
    def record(self) -> dict[str, Any]:
        return {
            "source": str(self.name),
            "commit": self.commit,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "licence": self.licence,
            "licence_terms": self.licence_terms,
        }

    def fetch(self, part: BinaryIO, scratch: Path, report: Callable[[int], None]) -> None:
        """Append the bytes that `part` lacks; see `Source.fetch`."""
        num_failures = 0
        while (done_bytes := part.seek(0, os.SEEK_END)) < self.size_bytes:
            error: Exception | None = None
            try:
                self._transfer(part, done_bytes, report)
            except HTTPError as transfer_error:
                error = transfer_error
            if part.tell() > done_bytes:
                num_failures = 0
                continue
            num_failures += 1
            if num_failures > NUM_RETRIES or not is_transient(error):
                raise refusal(self.name, error) from error
            time.sleep(RETRY_WAIT_S)

    def _transfer(self, part: BinaryIO, start: int, report: Callable[[int], None]) -> None:
        """Append what the hub sends from byte `start` on, until it is all here or the line drops.

        Pinned to the commit that was found, so that a resumed file can't be made of two versions.
        """
        request = get_session().stream(
            "GET",
            hf_hub_url(self.name.repo_id, self.name.file, revision=self.commit),
            headers={
                **build_hf_headers(library_name="slipstream"),
                "Accept-Encoding": "identity",
                "Range": f"bytes={start}-",
            },
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            follow_redirects=True,
        )
        with request as response:
            hf_raise_for_status(response)
            sends_rest = response.status_code == HTTPStatus.PARTIAL_CONTENT
            if not sends_rest:
                part.seek(0)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                part.write(chunk)
                report(part.tell())
                if part.tell() >= self.size_bytes:
                    break


def find_licence(name: HubName) -> tuple[str, str]:
    """The licence that the repository's card states, and where its terms are."""
    card = getattr(repository_info(name), "card_data", None)
    licence = getattr(card, "license", None)
    if not licence:
        return LICENCE_NOT_STATED, ""
    stated = getattr(card, "license_name", None) if licence == "other" else licence
    return str(stated or licence), str(getattr(card, "license_link", None) or "")


def repository_info(name: HubName) -> ModelInfo | None:
    """What the hub tells about the repository; None when it does not say.

    It is only shown, and a mirror may serve files without it or answer anything: no reason to fail.
    """
    try:
        return model_info(name.repo_id)
    except Exception:
        return None


def is_transient(error: Exception | None) -> bool:
    """Whether asking again may help: a dropped line or a busy server, not a refusal."""
    if isinstance(error, hub_errors.HfHubHTTPError):
        status = error.response.status_code
        return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return True


def refusal(name: HubName, error: Exception | None) -> DownloadError:
    """One sentence for what the hub or the network answered."""
    match error:
        case hub_errors.GatedRepoError():
            return DownloadError(
                f"{name.repo_id} is gated: accept its terms on its hub page, then set HF_TOKEN or "
                "run `hf auth login`, and pull again."
            )
        case hub_errors.RepositoryNotFoundError():
            return DownloadError(
                f"The hub has no repository {name.repo_id}, or it is private: check the name, or "
                "set HF_TOKEN."
            )
        case hub_errors.EntryNotFoundError():
            return DownloadError(f"{name.repo_id} has no file {name.file}{files_there(name)}.")
        case hub_errors.OfflineModeIsEnabled():
            return DownloadError(f"{name} can't be pulled while HF_HUB_OFFLINE is set: unset it.")
        case hub_errors.HfHubHTTPError():
            status = error.response.status_code
            refused = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            advice = "check HF_TOKEN" if refused else "pull again later"
            return DownloadError(f"The hub answered {name} with HTTP status {status}: {advice}.")
        case hub_errors.HFValidationError():
            return DownloadError(f"{name} is not a name that the hub can have: {error}")
    reason = f" ({error})" if error is not None and str(error) else ""
    return DownloadError(
        f"{name} could not be downloaded{reason}: check the network, and pull again, which resumes."
    )


def files_there(name: HubName) -> str:
    """What GGUF files the repository has instead, for a message; empty when that is unknown."""
    info = repository_info(name)
    if info is None:
        return ""
    files = [file.rfilename for file in info.siblings or [] if file.rfilename.endswith(".gguf")]
    return f"; its GGUF files are {', '.join(files)}" if files else "; it has no GGUF file"
