"""`pull` with a source made of memory: what is promised wherever the bytes come from."""

import errno
import hashlib
import os
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from slipstream.runtime.catalogue import CATALOGUE, Progress, download, models_folder
from slipstream.runtime.catalogue.download import pull
from slipstream.runtime.catalogue.store import locked_workspace, path_of, workspace_of
from slipstream.runtime.errors import CatalogueError, DownloadError
from support.model_packages import make_entry

CONTENT = bytes(range(256)) * 40
ENTRY = make_entry("tiny", CONTENT, part_bytes=len(CONTENT))


@dataclass
class MemorySource:
    """Sends CONTENT in small chunks, and raises `error` once at `fails_at` bytes."""

    content: bytes = CONTENT
    sha256: str = ENTRY.sha256
    fails_at: int | None = None
    error: BaseException = field(default_factory=KeyboardInterrupt)
    starts: list[int] = field(default_factory=list)
    size_bytes: int = len(CONTENT)
    licence: str = "MIT"
    licence_terms: str = "https://example.com/mit"
    scratch_bytes: int = 1000
    record: dict[str, Any] | None = None

    def fetch(self, part: BinaryIO, scratch: Path, report: Callable[[int], None]) -> None:
        scratch.mkdir()
        (scratch / "litter").write_text("x")
        start = part.seek(0, os.SEEK_END)
        self.starts.append(start)
        for offset in range(start, len(self.content), 1000):
            if self.fails_at is not None and offset >= self.fails_at:
                self.fails_at = None
                raise self.error
            part.write(self.content[offset : offset + 1000])
            report(part.tell())


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The source that `pull("tiny")` uses, with an empty models folder."""
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CATALOGUE, ENTRY.name, ENTRY)
    source = MemorySource()
    monkeypatch.setattr(download, "find_source", lambda name: source)
    return source


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_pull_leaves_the_whole_file_and_nothing_else(source):
    path = pull("tiny")
    assert path == models_folder() / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert files_below(models_folder()) == {"tiny.gguf", ".partial/tiny.gguf/lock"}


def test_the_licence_comes_before_any_byte_and_progress_ends_at_the_size(source):
    events: list[Progress] = []

    def on_progress(event: Progress) -> None:
        if not events:
            assert source.starts == []
        events.append(event)

    pull("tiny", progress=on_progress)
    assert (events[0].stage, events[0].done_bytes) == ("found", 0)
    assert {(e.licence, e.licence_terms) for e in events} == {("MIT", "https://example.com/mit")}
    assert {(e.model, e.total_bytes) for e in events} == {("tiny", len(CONTENT))}
    for stage in ("downloading", "verifying"):
        done = [event.done_bytes for event in events if event.stage == stage]
        assert done == sorted(done)
        assert done[-1] == len(CONTENT)


def test_a_model_that_is_here_is_not_fetched_again(source):
    pull("tiny")
    events: list[Progress] = []
    assert pull("tiny", progress=events.append).read_bytes() == CONTENT
    assert source.starts == [0]
    assert events == []


def test_a_model_of_the_wrong_size_is_replaced(source):
    pull("tiny").write_bytes(b"cut")
    assert pull("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DownloadError("the line dropped")])
def test_an_interrupted_pull_leaves_no_model_and_is_resumed(source, error):
    source.fails_at, source.error = 3000, error
    with pytest.raises(type(error)):
        pull("tiny")
    part = f".partial/tiny.gguf/{ENTRY.sha256}.part"
    assert files_below(models_folder()) == {part, ".partial/tiny.gguf/lock"}
    assert pull("tiny").read_bytes() == CONTENT
    assert source.starts == [0, 3000]


def test_a_part_of_another_version_of_the_model_is_not_used(source):
    workspace = workspace_of(path_of(ENTRY))
    workspace.mkdir(parents=True)
    (workspace / f"{'0' * 64}.part").write_bytes(b"old version")
    assert pull("tiny").read_bytes() == CONTENT
    assert source.starts == [0]
    assert files_below(models_folder()) == {"tiny.gguf", ".partial/tiny.gguf/lock"}


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"!", CONTENT[:-1], CONTENT + b"!"])
def test_a_file_that_is_not_the_expected_one_is_deleted(source, content):
    source.content = content
    with pytest.raises(DownloadError, match=f"expected .* {ENTRY.sha256}") as caught:
        pull("tiny")
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert files_below(models_folder()) == {".partial/tiny.gguf/lock"}


def test_a_file_of_the_wrong_size_is_refused_whatever_its_hash(source):
    source.content = CONTENT[:-1]
    source.sha256 = hashlib.sha256(source.content).hexdigest()
    with pytest.raises(DownloadError, match="is not the expected file"):
        pull("tiny")
    assert files_below(models_folder()) == {".partial/tiny.gguf/lock"}


def test_too_little_room_is_said_before_the_download(source, monkeypatch):
    free = namedtuple("usage", "free")(len(CONTENT) + source.scratch_bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(DownloadError, match=r"kB needed, .* kB free in .*home/models"):
        pull("tiny")
    assert source.starts == []


def test_just_enough_room_is_enough_and_bytes_already_here_count(source, monkeypatch):
    source.fails_at = 3000
    with pytest.raises(KeyboardInterrupt):
        pull("tiny")
    free = namedtuple("usage", "free")(len(CONTENT) - 3000 + source.scratch_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    assert pull("tiny").read_bytes() == CONTENT


def test_a_disk_that_fills_up_is_said_and_the_pull_can_be_resumed(source):
    source.fails_at, source.error = 2000, OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DownloadError, match="is full: free some room and pull again"):
        pull("tiny")
    assert pull("tiny").read_bytes() == CONTENT
    assert source.starts == [0, 2000]


def test_a_models_folder_that_cannot_be_made_is_said(source, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(CatalogueError, match=r"home/models can't be written .*SLIPSTREAM_HOME"):
        pull("tiny")


def test_a_reader_that_has_gone_is_not_called_a_disk_error(source):
    def on_progress(event: Progress) -> None:
        if event.stage == "downloading":
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        pull("tiny", progress=on_progress)


def test_a_second_pull_waits_for_the_first_and_takes_its_file(source):
    waiting = threading.Event()
    path = path_of(ENTRY)

    def on_progress(event: Progress) -> None:
        if event.stage == "waiting":
            waiting.set()

    second = threading.Thread(target=pull, args=["tiny"], kwargs={"progress": on_progress})
    with locked_workspace(path, wait_s=0):
        second.start()
        assert waiting.wait(10)
        path.write_bytes(CONTENT)
    second.join(10)
    assert not second.is_alive()
    assert source.starts == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("smollm2-135", "did you mean 'smollm2-135m'"),
        ("zzz", "known names: smollm2-135m"),
        ("./model.gguf", "is a path, so there is nothing to pull"),
        ("hf:org/repo", "expected hf:org/repo:file.gguf"),
    ],
)
def test_what_cannot_be_pulled_is_said(model, words):
    with pytest.raises(CatalogueError, match=words):
        pull(model)
