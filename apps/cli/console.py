"""Text to standard output and standard error, made safe for a terminal."""

import json
import sys
from pathlib import Path
from typing import Any

# A model or a model file could hide terminal commands in its text. Each such character is shown
# as the picture that Unicode has for it; the second set of controls has none.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
_PICTURES |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def visible(text: str) -> str:
    """The text with control characters other than newline and tab replaced by visible ones."""
    return text.translate(_PICTURES)


def one_line(text: str) -> str:
    """The text with each run of white space, newlines among it, as one space."""
    return " ".join(text.split())


def put(text: str) -> None:
    """Write to standard output at once; control characters reach files but no terminal."""
    if sys.stdout is None:  # closed by whoever started the program
        return
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def put_json(value: Any) -> None:
    """Write one JSON object, in ASCII so that any terminal and any pipe takes it."""
    put(json.dumps(value, indent=2) + "\n")


def say(text: str) -> None:
    """Write a line to standard error, where it does not mix with results."""
    if sys.stderr is not None:
        print(visible(text), file=sys.stderr, flush=True)


def short_path(path: Path) -> str:
    """The path with the user's home folder as ~, fit for pasting into a bug report."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # elsewhere; no home folder is known
        return str(path)
