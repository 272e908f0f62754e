"""Text piped into a command."""

import sys

from slipstream.runtime.errors import PromptError


def piped_text() -> str:
    """All of standard input. Raises PromptError when it is closed or not UTF-8."""
    if sys.stdin is None:
        raise PromptError("there is no text: none was given, and standard input is closed")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"standard input is not UTF-8 text: byte {error.start} is "
            f"0x{error.object[error.start]:02x}"
        ) from error
