"""`slipstream chat`: a conversation at the terminal."""

import sys
from typing import TYPE_CHECKING, Any

import click

from slipstream.apps.cli.console import say
from slipstream.apps.cli.shared_options import load_options, model_option, sampling_options
from slipstream.runtime.errors import ChatTemplateError, PromptError

if TYPE_CHECKING:
    from slipstream.runtime.llm import LLM


@click.command("chat", short_help="Talk with a model.")
@model_option
@click.option("--system", metavar="TEXT", help="System message: how the model should behave.")
@sampling_options
@load_options
@click.pass_context
def chat_command(
    click_context: click.Context,
    /,
    model: str,
    system: str | None,
    load: dict[str, Any],
    **sampling: Any,
) -> None:
    """Talk with a model. /help inside shows the commands.

    Ctrl-C stops an answer, Ctrl-D ends the chat. Messages can also be piped in, one a line.
    """
    from slipstream.apps.cli.chat.conversation import Conversation
    from slipstream.apps.cli.chat.entries import piped_entries, terminal_entries
    from slipstream.apps.cli.chat.loop import converse
    from slipstream.apps.cli.chat.typing_echo import typing_hidden
    from slipstream.apps.cli.loading import open_model
    from slipstream.runtime.catalogue import CATALOGUE
    from slipstream.runtime.options import Options
    from slipstream.runtime.sampling import SamplingOptions

    if sys.stdin is None:
        raise PromptError("nothing can be said: standard input is closed")
    SamplingOptions.from_user(**sampling)  # a wrong value should not wait for the model
    options = Options(**load)
    if model in CATALOGUE and not CATALOGUE[model].chat:  # nor should this wait for a pull
        raise base_model(model)
    with typing_hidden():
        llm = open_model(model, options)
    with llm:
        if llm.chat_template is None:
            raise base_model(model)
        conversation = Conversation(llm, system=system, sampling=sampling)
        if sys.stdin.isatty():
            welcome(llm, model)
            converse(conversation, terminal_entries())
        elif converse(conversation, piped_entries()):
            click_context.exit(1)


def base_model(model: str) -> ChatTemplateError:
    return ChatTemplateError(
        f"{model} can't chat: it is a base model, without a chat template, that continues text; "
        f"use `slipstream run --model {model} PROMPT`"
    )


def welcome(llm: "LLM", model: str) -> None:
    say(
        f"{model} on {llm.plan.threads} threads, {llm.plan.context:,} tokens of context. "
        "/help shows the commands, Ctrl-D ends."
    )
