"""Compiled kernels on disk: found, damaged, read-only, out of reach."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipstream.cpu_kernels.compiled import kernel_cache
from slipstream.cpu_kernels.compiled.kernel_cache import kernel_cache_dir, read_code, write_code
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel

PROGRAM = """
import sys
from slipstream.cpu_kernels.compiled.dot_rate import dots
print(dots(3), "llvmlite.binding" in sys.modules)
"""


def start(folder: Path) -> tuple[list[str], str]:
    """(what a fresh process prints, what it warns of) with its kernels in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "SLIPSTREAM_CACHE": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def the_code(folder: Path) -> Path:
    return next(folder.rglob("dot_rate.dots.code"))


def test_a_kernel_is_compiled_once(tmp_path: Path) -> None:
    (result, compiles), warning = start(tmp_path)
    assert (compiles, warning) == ("True", "")
    written = the_code(tmp_path).stat().st_mtime_ns
    assert start(tmp_path) == ([result, "False"], "")
    assert the_code(tmp_path).stat().st_mtime_ns == written


@pytest.mark.parametrize("keep", [0, 20, -1])
def test_a_damaged_kernel_is_compiled_again(tmp_path: Path, keep: int) -> None:
    """Run as it is, it would crash."""
    (result, _), _ = start(tmp_path)
    kept = the_code(tmp_path)
    good = kept.read_bytes()
    kept.write_bytes(good[:keep] if keep >= 0 else good[:500] + b"\xcc" * 200 + good[700:])
    (again, compiles), warning = start(tmp_path)
    assert (again, compiles) == (result, "True")
    assert "damaged" in warning
    assert kept.read_bytes() == good
    assert start(tmp_path) == ([result, "False"], "")


def test_a_kernel_says_nothing_of_where_it_was_compiled(tmp_path: Path) -> None:
    start(tmp_path)
    assert str(Path(__file__).parents[1]).encode() not in the_code(tmp_path).read_bytes()


def test_a_folder_that_is_only_readable_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPSTREAM_CACHE", str(tmp_path))
    kernel_cache_dir.cache_clear()

    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    try:
        write_code("some", b"code")
        monkeypatch.setattr(os, "access", lambda *_: False)
        monkeypatch.setattr(kernel_cache.tempfile, "TemporaryFile", refused)
        kernel_cache_dir.cache_clear()
        assert read_code("some") == b"code"
        assert read_code("other") is None
    finally:
        kernel_cache_dir.cache_clear()


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPSTREAM_CACHE", str(tmp_path))
    kernel_cache_dir.cache_clear()
    folder = kernel_cache_dir()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    kernel_cache._warn.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="No space left on device"):
            write_code("some", b"code")
        assert list(folder.iterdir()) == []
    finally:
        kernel_cache_dir.cache_clear()


def test_an_unknown_kernel_is_a_bug() -> None:
    with pytest.raises(AttributeError):
        load_kernel("matmul.matmull")
