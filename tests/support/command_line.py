"""Runs the `slipstream` command as its own process, and as a call in this one."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from slipstream.apps.cli.entry import run
from support.tiny_gguf import tiny_shape, write_tiny_model
from support.tiny_vocabulary import CHATML_TEMPLATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


def write_chat_model(path: Path, *, context_length: int = 512) -> None:
    """A tiny model with a chat template, whose answers are noise."""
    write_tiny_model(
        path,
        architecture="llama",
        shape=tiny_shape("llama", context_length=context_length),
        chat_template=CHATML_TEMPLATE,
    )


def call(capsys: pytest.CaptureFixture[str], *arguments: object, stdin: bytes = b"") -> Outcome:
    """Run the command in this process."""
    previous = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8", errors="replace")
    try:
        code = run([str(each) for each in arguments])
    finally:
        sys.stdin = previous
    written = capsys.readouterr()
    return Outcome(code=code, out=written.out, err=written.err)


def command(*arguments: object) -> list[str]:
    """The command line that starts Slipstream in a process of its own."""
    return [sys.executable, "-m", "slipstream", *(str(each) for each in arguments)]


def process(*arguments: object, stdin: bytes = b"", **environment: str) -> Outcome:
    """Run the command in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        env=os.environ | environment,
        timeout=300,
        check=False,
    )
    return Outcome(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())
