"""Conversations as files: a JSON list of messages, as chat APIs take them."""

import json
from pathlib import Path

from slipstream.apps.cli.chat.errors import ChatInputError
from slipstream.cpu_kernels.whole_file import write_whole

Messages = list[dict[str, str]]

LARGEST_FILE_BYTES = 64 << 20
ROLES = ("system", "user", "assistant")


def load_messages(path: Path) -> Messages:
    """The conversation in a file. Raises ChatInputError saying what is wrong with it."""
    if path.exists() and not path.is_file():
        raise ChatInputError(f"{path} is not a file; expected a saved conversation")
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ChatInputError(f"{path} is too large for a saved conversation")
        messages = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ChatInputError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ChatInputError(f"{path} is not a saved conversation: {error}") from error
    problem = find_problem(messages)
    if problem is not None:
        raise ChatInputError(f"{path} is not a saved conversation: {problem}")
    return [{"role": each["role"], "content": each["content"]} for each in messages]


def save_messages(path: Path, messages: Messages) -> None:
    """Write a conversation; the file is replaced whole, and only if it is a conversation too.

    Raises ChatInputError.
    """
    if path.exists():
        load_messages(path)
    try:
        write_whole(path, json.dumps(messages, indent=2, ensure_ascii=False) + "\n")
    except (OSError, ValueError) as error:  # ValueError: a name or text that no file can hold
        raise ChatInputError(f"{path} can't be written: {error}") from error


def find_problem(messages: object) -> str | None:
    """What keeps a value from being the messages of a conversation."""
    if not isinstance(messages, list):
        return f"expected a list of messages, got {type(messages).__name__}"
    expected = "user"
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return f'message {number} is not like {{"role": "user", "content": "Hello"}}'
        role = message.get("role")
        if role not in ROLES:
            return f"message {number} has the role {role!r}; expected one of {', '.join(ROLES)}"
        if role == "system" and number == 1:
            continue
        if role != expected:
            return f"message {number} is from {role!r}; expected {expected!r}"
        expected = "assistant" if expected == "user" else "user"
    return None
