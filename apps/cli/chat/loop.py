"""Takes entries one after the other until the chat ends."""

from collections.abc import Iterable

from slipstream.apps.cli.chat.commands import run_command
from slipstream.apps.cli.chat.conversation import Conversation
from slipstream.apps.cli.chat.entry_text import unquoted
from slipstream.apps.cli.chat.errors import ChatInputError
from slipstream.apps.cli.console import one_line, say
from slipstream.runtime.errors import SlipstreamError


def converse(conversation: Conversation, entries: Iterable[str]) -> int:
    """Answer each entry or do what it says; errors are printed and the chat goes on.

    Returns how many entries failed.
    """
    num_failed = 0
    for entry in entries:
        try:
            if entry.lstrip().startswith("/"):
                if not run_command(conversation, entry):
                    break
            elif message := unquoted(entry):
                conversation.ask(message)
        except (ChatInputError, SlipstreamError) as error:
            say(f"error: {one_line(str(error))}")
            num_failed += 1
        except KeyboardInterrupt:  # a second one, while an answer was being stopped
            say("(stopped)")
    return num_failed
