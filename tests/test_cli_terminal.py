"""`slipstream chat` at a pseudo-terminal, as somebody sits in front of it."""

import os
import re
import select
import subprocess
import sys
import time

import pytest

from support.command_line import command, write_chat_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
CTRL_C, CTRL_D, ALT_ENTER = b"\x03", b"\x04", b"\x1b\r"
PROMPT = ">>>"
# Makes standard input the terminal whose Ctrl-C reaches the program, then becomes the program.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A chat in a pseudo-terminal."""

    def __init__(self, path, home):
        self.master, slave = os.openpty()
        environment = {"SLIPSTREAM_HOME": str(home), "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}
        chat = command("chat", "-m", path, "--temperature", "0")
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *chat],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | environment,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, keys):
        os.write(self.master, keys)

    def wait_for(self, text, timeout_s=60):
        """What appeared until and including `text`, without the terminal's own commands."""
        end = time.monotonic() + timeout_s
        while text not in self.seen:
            assert select.select([self.master], [], [], max(0, end - time.monotonic()))[0], (
                f"no {text!r} in {self.seen[-2000:]!r}"
            )
            self.seen += plain(os.read(self.master, 65536).decode(errors="replace"))
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def end(self):
        """The exit code, after all output has been read."""
        while True:
            try:
                if not os.read(self.master, 65536):
                    break
            except OSError:  # Linux says so when nobody holds the other side
                break
        return self.process.wait(timeout=60)


def plain(text):
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>]", "", text)


@pytest.fixture
def terminal(tmp_path):
    path = tmp_path / "talkative.gguf"
    write_chat_model(path, context_length=200_000)
    terminal = Terminal(path, tmp_path / "home")
    yield terminal
    terminal.process.kill()
    terminal.process.wait()
    os.close(terminal.master)


def test_a_chat_from_welcome_to_goodbye(terminal, tmp_path):
    terminal.wait_for("/help shows the commands")
    terminal.wait_for(PROMPT)

    terminal.type(b"and\r")
    terminal.wait_for("and")
    time.sleep(1)  # of an answer that would take minutes
    terminal.type(CTRL_C)
    terminal.wait_for("(stopped)")
    terminal.wait_for(PROMPT)

    terminal.type(b"/stats\r")
    assert "decode" in terminal.wait_for("actual / predicted")
    terminal.wait_for(PROMPT)

    terminal.type(b"/set max_tokens 2\r")
    terminal.wait_for("max_tokens is 2")
    terminal.wait_for(PROMPT)

    terminal.type(b'"""in\rthe"""\r')
    terminal.wait_for("cut off")
    terminal.wait_for(PROMPT)
    terminal.type(b"on" + ALT_ENTER + b"and on\r")
    terminal.wait_for("cut off")
    terminal.wait_for(PROMPT)
    talk = tmp_path / "talk.json"
    terminal.type(f"/save {talk}\r".encode())
    terminal.wait_for("6 messages saved")
    terminal.wait_for(PROMPT)
    for message in (r'"in\nthe"', r'"on\nand on"'):
        assert message in talk.read_text()

    terminal.type(b"half a mess" + CTRL_C)
    terminal.wait_for("(Ctrl-D or /bye ends the chat)")
    terminal.wait_for(PROMPT)
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    history = (tmp_path / "home" / "chat-history").read_text()
    assert "+on\n+and on\n" in history
    assert "half a mess" not in history


def test_bye_ends_the_chat_while_it_has_said_nothing(terminal):
    terminal.wait_for(PROMPT)
    terminal.type(b"/bye\r")
    assert terminal.end() == 0
