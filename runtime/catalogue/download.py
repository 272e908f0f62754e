"""Downloads a model: check for room, fetch or resume, verify, move into place."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import filelock

from slipstream.offload.units import format_bytes
from slipstream.runtime.catalogue.entries import CatalogueEntry
from slipstream.runtime.catalogue.names import HubName, looks_like_path, parse_name, unknown_name
from slipstream.runtime.catalogue.pip_source import PipSource
from slipstream.runtime.catalogue.source import CHUNK_BYTES, Progress, Source, Stage
from slipstream.runtime.catalogue.store import (
    SCRATCH_NAME,
    clear_workspace,
    expected_bytes,
    is_complete,
    locked_workspace,
    models_folder,
    path_of,
    unwritable,
    write_record,
)
from slipstream.runtime.errors import CatalogueError, DownloadError

ReportStage = Callable[[Stage, int], None]


def pull(model: str, *, progress: Callable[[Progress], None] | None = None) -> Path:
    """Download `model` unless it is here already; returns its path.

    model    : a catalogue name or `hf:org/repo:file.gguf`
    progress : is told the licence first ("found"), then the bytes as they come
    An interrupted pull is resumed by the next one, and the file appears in the store only when it
    is whole and its hash is right. Raises CatalogueError for a name that can't be pulled, and
    DownloadError when the download fails.
    """
    name = parse_name(model)
    if name is None:
        raise nothing_to_pull(model)
    path = path_of(name)
    if is_complete(path, expected_bytes(name)):
        return path
    source = find_source(name)

    def report(stage: Stage, done_bytes: int) -> None:
        if progress is not None:
            progress(
                Progress(
                    model=model,
                    stage=stage,
                    done_bytes=done_bytes,
                    total_bytes=source.size_bytes,
                    licence=source.licence,
                    licence_terms=source.licence_terms,
                )
            )

    report("found", 0)
    download_once(name, source, report)
    return path


def find_source(name: CatalogueEntry | HubName) -> Source:
    """Where the file of `name` comes from; asks the hub about a hub name."""
    if isinstance(name, CatalogueEntry):
        return PipSource(entry=name)
    # Imported here: the HTTP library costs 0.15 s, which every start of the program would pay.
    from slipstream.runtime.catalogue.hub_source import HubSource

    return HubSource.find(name)


def nothing_to_pull(model: str) -> CatalogueError:
    if looks_like_path(model):
        return CatalogueError(
            f"{model!r} is a path, so there is nothing to pull: give a catalogue name or "
            "hf:org/repo:file.gguf."
        )
    return unknown_name(model)


def download_once(name: CatalogueEntry | HubName, source: Source, report: ReportStage) -> None:
    """Put the file of `name` in place, or wait while another process does."""
    path = path_of(name)
    try:
        with locked_workspace(path, wait_s=0) as workspace:
            download(path, source, workspace, report)
    except filelock.Timeout:
        report("waiting", 0)
        with locked_workspace(path, wait_s=-1) as workspace:
            if not is_complete(path, source.size_bytes):
                download(path, source, workspace, report)


def download(path: Path, source: Source, workspace: Path, report: ReportStage) -> None:
    """Fetch into the locked `workspace`, verify there, and rename to `path`."""
    part = workspace / f"{source.sha256}.part"
    scratch = workspace / SCRATCH_NAME
    try:
        clear_workspace(workspace, keep=part)
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch(part, scratch, source, report)
        verify(part, source, report)
        if source.record is not None:
            write_record(path, source.record)
        os.replace(part, path)
    except BrokenPipeError:
        raise  # from a progress callback whose reader has gone, not from the disk
    except OSError as error:
        raise unwritable(error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fetch(part: Path, scratch: Path, source: Source, report: ReportStage) -> None:
    """Complete `part`, after checking that the disk has room for the rest."""
    part.touch()
    with part.open("r+b") as file:
        done_bytes = file.seek(0, os.SEEK_END)
        if done_bytes < source.size_bytes:
            check_room(part.parent, source.size_bytes - done_bytes + source.scratch_bytes)
        report("downloading", done_bytes)
        source.fetch(file, scratch, lambda num_bytes: report("downloading", num_bytes))
        file.flush()
        os.fsync(file.fileno())


def check_room(folder: Path, needed_bytes: int) -> None:
    """Raise DownloadError when the disk of `folder` has less than `needed_bytes` free."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise DownloadError(
            f"Not enough disk room: {format_bytes(needed_bytes)} needed, "
            f"{format_bytes(free_bytes)} free in {models_folder()}. Free some, or set "
            "SLIPSTREAM_HOME to a folder on another disk."
        )


def verify(part: Path, source: Source, report: ReportStage) -> None:
    """Check the size and SHA-256 of `part`; a file that fails is deleted, DownloadError raised."""
    digest = hashlib.sha256()
    num_bytes = 0
    with part.open("rb") as file:
        while chunk := file.read(8 * CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
            report("verifying", num_bytes)
    if num_bytes == source.size_bytes and digest.hexdigest() == source.sha256:
        return
    part.unlink()
    raise DownloadError(
        f"The download is not the expected file and was deleted: expected {source.size_bytes:,} "
        f"bytes with SHA-256 {source.sha256}, got {num_bytes:,} bytes with {digest.hexdigest()}. "
        "Pull again; if that fails too, do not trust where it came from."
    )
