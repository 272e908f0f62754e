"""Where the program begins, and where each way in which it can end gets its line and exit code."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn, TextIO

import click

from slipstream.apps.cli.app import app
from slipstream.apps.cli.console import one_line, say
from slipstream.runtime.errors import OptionError, SlipstreamError

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
PIPE_CLOSED = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM


def main() -> NoReturn:
    """Run the command line of this process and leave it."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks should not end an answer.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    warnings.showwarning = show_warning
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # tidies up on its way
    exit_code = run(sys.argv[1:])
    if exit_code == PIPE_CLOSED:
        discard_output()
    sys.exit(exit_code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; prints the error that ends it and returns the exit code.

    With --debug an error is raised instead.
    """
    debug = False
    try:
        with app.make_context("slipstream", list(arguments)) as context:
            debug = bool(context.params["debug"])
            app.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()  # a pipe that was closed must be met here, not while Python ends
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.UsageError as error:
        say(f"error: {usage_message(error)}")
        return WRONG_USAGE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return PIPE_CLOSED
    except Exception as error:
        if debug:
            raise
        say(f"error: {message(error)}")
        return WRONG_USAGE if isinstance(error, OptionError) else FAILED
    return 0


def message(error: Exception) -> str:
    """One line for an error: its own text when it was meant for users."""
    text = one_line(str(error))
    if isinstance(error, SlipstreamError | click.ClickException):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or use a smaller model or context"
    return (
        f"unexpected {type(error).__name__}: {text}. This is a fault in Slipstream; "
        "`slipstream --debug ...` shows where"
    )


def usage_message(error: click.UsageError) -> str:
    """Click's text, and which help to read."""
    text = one_line(error.format_message())
    command = error.ctx.command_path if error.ctx is not None else "slipstream"
    end = "" if text.endswith((".", "?", ")")) else "."
    return f"{text}{end} See `{command} --help`."


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A Python warning as a line for users; takes the place of `warnings.showwarning`."""
    say(f"warning: {one_line(str(message))}")


def discard_output() -> None:
    """Let Python flush its streams into nothing when it ends: nobody reads them any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())
