"""The folder that holds the pulled models, one file a name.

<models folder>/<name>.gguf                      a catalogue model
<models folder>/hf/<org>/<repo>/<file>.gguf      a file from the hub, and beside it
<models folder>/hf/<org>/<repo>/<file>.gguf.json what the hub declared about it
<models folder>/.partial/<the same paths>/       unfinished downloads and their locks
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from slipstream.runtime.catalogue.entries import CATALOGUE, CatalogueEntry
from slipstream.runtime.catalogue.names import HUB_PREFIX, HubName, parse_name
from slipstream.runtime.errors import CatalogueError, DownloadError

HUB_FOLDER = "hf"
PARTIAL_FOLDER = ".partial"
LOCK_NAME = "lock"
SCRATCH_NAME = "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model file in the models folder."""

    name: str
    path: Path
    size_bytes: int
    licence: str | None  # None: a file that Slipstream did not pull
    pulled_at: datetime


def models_folder() -> Path:
    """`$SLIPSTREAM_HOME/models`, or `models` in the user's data folder."""
    home = os.environ.get("SLIPSTREAM_HOME")
    if home:
        return Path(os.path.expanduser(home)).absolute() / "models"
    return platformdirs.user_data_path("slipstream", appauthor=False) / "models"


def path_of(name: CatalogueEntry | HubName) -> Path:
    """Where the file of `name` is, or would be."""
    if isinstance(name, CatalogueEntry):
        return models_folder() / f"{name.name}.gguf"
    return models_folder() / HUB_FOLDER / name.org / name.repo / name.file


def workspace_of(path: Path) -> Path:
    """The folder in which the model file `path` is put together."""
    return models_folder() / PARTIAL_FOLDER / path.relative_to(models_folder())


def record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def read_record(path: Path) -> dict[str, Any]:
    """What the hub declared about the model file `path`; empty when nothing readable is kept."""
    try:
        record = json.loads(record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    record_path(path).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def is_complete(path: Path, size_bytes: int | None) -> bool:
    """Whether the model file is here and has the size it should have."""
    return path.is_file() and path.stat().st_size == size_bytes


def expected_bytes(name: CatalogueEntry | HubName) -> int | None:
    """The size that the file of `name` must have; None when the hub has not been asked yet."""
    if isinstance(name, CatalogueEntry):
        return name.size_bytes
    return read_record(path_of(name)).get("size_bytes")


@contextmanager
def locked_workspace(path: Path, *, wait_s: float) -> Iterator[Path]:
    """Hold the workspace of `path` against other processes; yields the folder.

    Raises filelock.Timeout after `wait_s` (-1: never), CatalogueError when it can't be written.
    """
    import filelock  # takes 4 MB with what it imports, and loading a model locks nothing

    workspace = workspace_of(path)
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(workspace / LOCK_NAME, timeout=wait_s)
        lock.acquire()
    except filelock.Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise unwritable(error) from error
    try:
        yield workspace
    finally:
        lock.release()


def unwritable(error: Exception) -> CatalogueError:
    """The error for a models folder that can't be written."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"The disk of {models_folder()} is full: free some room and pull again, which resumes."
        )
    reason = getattr(error, "strerror", None) or str(error)
    return CatalogueError(
        f"The models folder {models_folder()} can't be written ({reason}): make it writable, or "
        "set SLIPSTREAM_HOME to a folder that is."
    )


def list_local() -> list[LocalModel]:
    """Every model file in the models folder, by name."""
    return [model for model in list_entries() if model.path.is_file()]


def list_entries() -> list[LocalModel]:
    """The model files, and links to files that are gone."""
    folder = models_folder()
    paths = [*folder.glob("*.gguf"), *(folder / HUB_FOLDER).glob("*/*/**/*.gguf")]
    models = (local_model(path) for path in paths if path.is_file() or path.is_symlink())
    return sorted(models, key=lambda model: model.name)


def local_model(path: Path) -> LocalModel:
    pieces = path.relative_to(models_folder()).parts
    if len(pieces) > 1:
        _, org, repo, *file = pieces
        name = f"{HUB_PREFIX}{org}/{repo}:{'/'.join(file)}"
        licence = read_record(path).get("licence")
    else:
        name = path.stem
        licence = CATALOGUE[name].licence if name in CATALOGUE else None
    status = path.stat() if path.is_file() else path.lstat()
    return LocalModel(
        name=name,
        path=path,
        size_bytes=status.st_size,
        licence=licence,
        pulled_at=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def remove(model: str) -> LocalModel:
    """Delete a pulled model and what an interrupted pull of it left; returns what it was.

    Raises CatalogueError when no such model is here, or it can't be deleted.
    """
    here = {local.name: local for local in list_entries()}
    local = here.get(model) or interrupted_pull(model)
    if local is None:
        names = ", ".join(here) or "no model"
        raise CatalogueError(f"{model!r} is not in {models_folder()}: {names} is there.")
    try:
        with locked_workspace(local.path, wait_s=0) as workspace:
            local.path.unlink(missing_ok=True)
            record_path(local.path).unlink(missing_ok=True)
            clear_workspace(workspace)
    except TimeoutError as error:  # which filelock's is
        raise CatalogueError(f"{model} is being pulled by another process: stop that.") from error
    except OSError as error:
        raise unwritable(error) from error
    return local


def interrupted_pull(model: str) -> LocalModel | None:
    """The unfinished download of `model`: the path it would have had, and its bytes so far."""
    name = parse_name(model)
    if name is None:
        return None
    path = path_of(name)
    part = next(workspace_of(path).glob("*.part"), None)
    if part is None:
        return None
    status = part.stat()
    return LocalModel(
        name=model,
        path=path,
        size_bytes=status.st_size,
        licence=None,
        pulled_at=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def clear_workspace(workspace: Path, *, keep: Path | None = None) -> None:
    """Delete what is in a locked workspace, but for its lock and `keep`."""
    for path in workspace.iterdir():
        if path == keep or path.name == LOCK_NAME:
            continue
        # A hub repository may have a folder named like a file: its workspaces lie in this one.
        if path.is_dir() and path.name == SCRATCH_NAME:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
