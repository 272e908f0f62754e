"""Keeps what is typed while an answer streams from appearing in the middle of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def typing_hidden() -> Iterator[None]:
    """Inside, the terminal shows no typing; the keys are kept for the next prompt."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    try:
        import termios
    except ImportError:  # Windows, whose console shows nothing that no program reads
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    hidden = termios.tcgetattr(terminal)
    hidden[3] &= ~termios.ECHO  # the local modes
    termios.tcsetattr(terminal, termios.TCSANOW, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
