"""How the program starts and how it ends when it is not left to itself."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from slipstream import __version__
from slipstream.apps.cli import run_command
from slipstream.apps.cli.interrupt import stopped_by_interrupt
from support.command_line import call, command, process, write_chat_model

HEAVY = ("numba", "numpy", "llvmlite", "jinja2", "rich", "prompt_toolkit")


@pytest.fixture(scope="module")
def talkative(tmp_path_factory):
    """A model with room for an answer of many seconds."""
    path = tmp_path_factory.mktemp("models") / "talkative.gguf"
    write_chat_model(path, context_length=200_000)
    return path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["--version"], ["run", "--x"]]
)
def test_help_and_usage_errors_load_nothing_heavy(arguments):
    program = (
        "import sys; from slipstream.apps.cli.entry import run; run(sys.argv[1:]);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_version_and_bare_command():
    assert process("--version").out == f"slipstream {__version__}\n"
    bare = process()
    assert (bare.code, bare.err) == (0, "")
    assert bare.out == process("--help").out


def test_interrupt_ends_the_answer_with_what_there_is(talkative):
    arguments = ["run", "and", "--raw", "--temperature", "0", "--stats", "-m", talkative]
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout.read(1)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"decode" in err
    assert b"Traceback" not in err


def test_interrupt_of_a_json_answer_prints_the_object(capsys, monkeypatch, talkative):
    @contextmanager
    def interrupted_at_once(stop):
        with stopped_by_interrupt(stop):
            signal.raise_signal(signal.SIGINT)
            yield

    monkeypatch.setattr(run_command, "stopped_by_interrupt", interrupted_at_once)
    outcome = call(capsys, "run", "and", "--json", "-m", talkative)
    assert outcome.code == 130
    assert json.loads(outcome.out)["finish_reason"] == "cancelled"


def test_a_second_interrupt_raises():
    stops = []
    with stopped_by_interrupt(lambda: stops.append(1)):
        signal.raise_signal(signal.SIGINT)
        assert stops == [1]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_reader_that_has_gone_ends_the_answer_quietly(talkative):
    arguments = ["run", "and", "--raw", "--temperature", "0", "-m", talkative]
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


def test_closed_standard_output_is_no_failure(talkative):
    shell = " ".join(command("run", "and", "--max-tokens", "2", "-m", talkative)) + " >&-"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_told(talkative):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("run", "and", "--max-tokens", "2", "-m", talkative),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_warnings_are_a_line(tmp_path, talkative):
    (tmp_path / "file").write_text("in the way")
    outcome = process("plan", talkative, XDG_CACHE_HOME=str(tmp_path / "file"), SLIPSTREAM_CACHE="")
    assert outcome.code == 0
    assert outcome.err.startswith("warning: can't write compiled kernels to")
    assert len(outcome.err.splitlines()) == 1
