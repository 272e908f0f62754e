"""Where the entries of a chat come from: somebody at a terminal, or a pipe."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from slipstream.apps.cli.chat.entry_text import is_complete
from slipstream.apps.cli.console import say, short_path
from slipstream.runtime.catalogue import models_folder

PROMPT = "\n>>> "
CONTINUATION = "... "


def piped_entries() -> Iterator[str]:
    """Entries from standard input, a line each, or the lines of a block."""
    held = ""
    for line in sys.stdin or ():
        held += line
        if is_complete(held):
            yield held
            held = ""
    if held:
        yield held


def terminal_entries() -> Iterator[str]:
    """Entries as they are typed, until Ctrl-D; Ctrl-C drops what has been typed."""
    session: PromptSession[str] = PromptSession(
        message=PROMPT,
        multiline=True,
        prompt_continuation=CONTINUATION,
        key_bindings=keys(),
        history=history(),
    )
    while True:
        try:
            yield session.prompt()
        except KeyboardInterrupt:
            say("(Ctrl-D or /bye ends the chat)")
        except EOFError:
            return


def keys() -> KeyBindings:
    """Enter sends what is complete; Alt-Enter always makes a new line."""
    bindings = KeyBindings()

    @bindings.add("enter", filter=Condition(lambda: is_complete(get_app().current_buffer.text)))
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def history() -> History:
    """What was typed before, kept in a file that only the user may read."""
    path = history_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        say(f"warning: what you type is not kept: {short_path(path)}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(str(path))


def history_path() -> Path:
    return models_folder().with_name("chat-history")
