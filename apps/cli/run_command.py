"""`slipstream run`: answer one prompt."""

import sys
from typing import TYPE_CHECKING, Any

import click

from slipstream.apps.cli.console import put, put_json, say
from slipstream.apps.cli.interrupt import stopped_by_interrupt
from slipstream.apps.cli.shared_options import (
    json_option,
    load_options,
    model_option,
    sampling_options,
    stats_option,
)
from slipstream.apps.cli.standard_input import piped_text
from slipstream.runtime.errors import OptionError, PromptError

if TYPE_CHECKING:
    from slipstream.runtime.engine import TokenStream
    from slipstream.runtime.llm import LLM


@click.command("run", short_help="Answer one prompt.")
@click.argument("prompt", required=False)
@model_option
@click.option("--system", metavar="TEXT", help="System message: how the model should behave.")
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without chat template.")
@sampling_options
@load_options
@stats_option
@json_option
@click.pass_context
def run_command(
    click_context: click.Context,
    /,
    prompt: str | None,
    model: str,
    system: str | None,
    raw: bool,
    load: dict[str, Any],
    stats: bool,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Answer PROMPT, or what standard input has.

    The answer goes to standard output as it comes, everything else to standard error. A model that
    is not on this machine is pulled first. Ctrl-C stops the answer.
    """
    if raw and system is not None:
        raise click.UsageError("--system needs the chat template that --raw leaves out")
    text = read_prompt(prompt)

    from slipstream.apps.cli.loading import open_model
    from slipstream.apps.cli.timing_lines import completion_dict, timing_lines
    from slipstream.runtime.options import Options
    from slipstream.runtime.sampling import SamplingOptions

    SamplingOptions.from_user(**sampling)  # a wrong value should not wait for the model
    options = Options(**load)
    with open_model(model, options) as llm:
        plain = raw or plain_only(llm, model, system)
        stream = start(llm, text, system, plain, sampling)
        with stopped_by_interrupt(stream.cancel):
            if not as_json:
                show(stream)
            completion = stream.completion
        if as_json:
            put_json(
                {
                    "model": model,
                    "mode": "completion" if plain else "chat",
                    **completion_dict(completion),
                    "plan": llm.plan.as_dict(),
                }
            )
        if stats:
            for line in timing_lines(completion, llm.plan):
                say(line)
    if completion.finish_reason == "cancelled":
        click_context.exit(130)


def read_prompt(prompt: str | None) -> str:
    """The prompt argument, or standard input when it is "-" or missing; never empty."""
    if prompt is None and sys.stdin is not None and sys.stdin.isatty():
        raise click.UsageError("Give a PROMPT, or pipe one into standard input")
    if prompt is None or prompt == "-":
        prompt = piped_text().removesuffix("\n")
    if not prompt.strip():
        raise PromptError("the prompt is empty; expected some text")
    return prompt


def plain_only(llm: "LLM", model: str, system: str | None) -> bool:
    """Whether the model lacks a chat template, which is said."""
    if llm.chat_template is not None:
        return False
    if system is not None:
        raise OptionError(f"--system can't be used: {model} has no chat template to put it in")
    say(f"note: {model} has no chat template, so it continues the prompt instead of answering it")
    return True


def start(
    llm: "LLM", text: str, system: str | None, plain: bool, sampling: dict[str, Any]
) -> "TokenStream":
    """Begin to generate."""
    if plain:
        return llm.stream(text, **sampling)
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return llm.chat_stream(messages, **sampling)


def show(stream: "TokenStream") -> None:
    """Write the pieces as they come, and end the line."""
    last = ""
    for piece in stream:
        put(piece.text)
        last = piece.text
    if not last.endswith("\n"):
        put("\n")
