"""The commands of a chat: lines that begin with a slash."""

import dataclasses
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipstream.apps.cli.chat.conversation import Conversation
from slipstream.apps.cli.chat.errors import ChatInputError
from slipstream.apps.cli.chat.transcript import load_messages, save_messages
from slipstream.apps.cli.console import say
from slipstream.apps.cli.timing_lines import timing_lines
from slipstream.offload.table import aligned
from slipstream.runtime.sampling import SamplingOptions

ENDINGS = ("/bye", "/exit", "/quit")
# Nothing in a chat shows log probabilities.
SETTABLE = [each.name for each in dataclasses.fields(SamplingOptions) if each.name != "logprobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCommand:
    """A command: its name, what follows it ("" for nothing), its help, and what it does."""

    name: str
    argument: str
    text: str
    act: Callable[[Conversation, str], None]


def run_command(conversation: Conversation, line: str) -> bool:
    """Do what a line with a command says; False when the chat should end.

    Raises ChatInputError for a command that does not exist or can't be done, SlipstreamError.
    """
    name, _, argument = line.strip().partition(" ")
    if name in ENDINGS:
        return False
    command = next((each for each in COMMANDS if each.name == name), None)
    if command is None:
        known = [*(each.name for each in COMMANDS), *ENDINGS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "/help lists the commands."
        raise ChatInputError(f"there is no command {name}; {hint}")
    argument = argument.strip()
    if bool(argument) != bool(command.argument) and not command.argument.startswith("["):
        usage = f"{command.name} {command.argument}".strip()
        raise ChatInputError(f"write it as {usage}")
    command.act(conversation, argument)
    return True


def show_help(conversation: Conversation, _: str) -> None:
    rows = [(f"{each.name} {each.argument}", each.text) for each in COMMANDS]
    rows.append((" ".join(ENDINGS[:2]), "end the chat; Ctrl-D does too"))
    say("\n".join(aligned(rows)))
    say(
        "\nEnter sends the message, Alt-Enter begins a new line. Ctrl-C stops an answer.\n"
        'A message of several lines can also stand between two """, like a Python text.'
    )


def set_system(conversation: Conversation, text: str) -> None:
    conversation.set_system(text)
    say("system message set; it holds from the next message on")


def clear(conversation: Conversation, _: str) -> None:
    conversation.clear()
    say("new conversation")


def undo(conversation: Conversation, _: str) -> None:
    conversation.undo()
    say(f"taken back; {len(conversation.session.messages)} messages are left")


def retry(conversation: Conversation, _: str) -> None:
    conversation.retry()


def set_option(conversation: Conversation, argument: str) -> None:
    name, _, text = argument.partition(" ")
    name = name.replace("-", "_")
    if name not in SETTABLE:
        raise ChatInputError(f"/set knows {', '.join(SETTABLE)}; got {name!r}")
    if not text.strip():
        raise ChatInputError(f"write it as /set {name} VALUE, or /set {name} default")
    changed = {**conversation.sampling, name: parse_value(text.strip())}
    SamplingOptions.from_user(**changed)
    conversation.sampling = changed
    say(f"{name} is {getattr(conversation.options, name)!r}")


def parse_value(text: str) -> Any:
    """A number, or another JSON value, or the text itself; None for "default"."""
    if text == "default":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def show(conversation: Conversation, _: str) -> None:
    options = conversation.options
    say("\n".join(aligned([(name, repr(getattr(options, name))) for name in SETTABLE])))
    say("\n" + "\n".join(conversation.llm.plan.lines()))
    messages = conversation.session.messages
    if messages and messages[0]["role"] == "system":
        say(f"\nsystem message: {messages[0]['content']}")


def show_stats(conversation: Conversation, _: str) -> None:
    if conversation.last is None:
        raise ChatInputError("there is no answer yet")
    say("\n".join(timing_lines(conversation.last, conversation.llm.plan)))


def named_path(argument: str) -> Path:
    """The path that somebody typed. Raises ChatInputError for one that can't exist."""
    if "\0" in argument:
        raise ChatInputError("a file name can't hold a NUL character")
    try:
        return Path(argument).expanduser()
    except RuntimeError as error:  # ~ of somebody who is not known here
        raise ChatInputError(f"{argument}: {error}") from error


def save(conversation: Conversation, argument: str) -> None:
    path = named_path(argument)
    save_messages(path, conversation.session.messages)
    say(f"{len(conversation.session.messages)} messages saved in {path}")


def load(conversation: Conversation, argument: str) -> None:
    path = named_path(argument)
    conversation.replace(load_messages(path))
    say(f"{len(conversation.session.messages)} messages loaded from {path}")


COMMANDS = (
    ChatCommand(name="/help", argument="", text="show this", act=show_help),
    ChatCommand(
        name="/system", argument="TEXT", text="set how the model should behave", act=set_system
    ),
    ChatCommand(name="/clear", argument="", text="begin a new conversation", act=clear),
    ChatCommand(name="/undo", argument="", text="take back the last message", act=undo),
    ChatCommand(name="/retry", argument="", text="answer the last message again", act=retry),
    ChatCommand(
        name="/set", argument="OPTION VALUE", text="change a sampling option", act=set_option
    ),
    ChatCommand(name="/show", argument="", text="show the options and the plan", act=show),
    ChatCommand(name="/stats", argument="", text="show what the last answer took", act=show_stats),
    ChatCommand(name="/save", argument="FILE", text="save the conversation as JSON", act=save),
    ChatCommand(name="/load", argument="FILE", text="go on with a saved conversation", act=load),
)
