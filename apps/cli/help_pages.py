"""Writes docs/cli.md: `python -m slipstream.apps.cli.help_pages > docs/cli.md`."""

import click

from slipstream.apps.cli.app import COMMANDS, app

WIDTH = 100  # columns

HEADING = """\
# Command line

What `slipstream --help` and `slipstream COMMAND --help` print. `make docs` writes this page, and a
test compares it with the program.

Results go to standard output; progress, notes and errors to standard error. Exit codes: 0 done,
1 failed (one line says why), 2 wrong usage, or an option that can't be used, 130 stopped by Ctrl-C,
141 the reader of the output has gone, 143 ended by SIGTERM.
"""


def help_pages() -> str:
    """The help of every command as one Markdown page."""
    root = click.Context(app, info_name="slipstream", terminal_width=WIDTH, **app.context_settings)
    pages = [HEADING, page("slipstream", app.get_help(root))]
    for command in COMMANDS:
        context = click.Context(command, info_name=command.name, parent=root)
        pages.append(page(f"slipstream {command.name}", command.get_help(context)))
    return "\n".join(pages)


def page(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    print(help_pages(), end="")
