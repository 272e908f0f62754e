"""docs/cli.md is what the program says of itself."""

import re
from pathlib import Path

from slipstream.apps.cli.app import COMMANDS
from slipstream.apps.cli.help_pages import help_pages
from slipstream.apps.cli.shared_options import DEFAULT_MODEL
from slipstream.runtime import catalogue
from slipstream.runtime.sampling import SamplingOptions

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_the_help_of_the_program():
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == help_pages(), "run `make docs`"


def test_every_command_has_a_page_and_a_short_help_that_fits():
    pages = help_pages()
    for command in COMMANDS:
        assert f"## slipstream {command.name}\n" in pages
        assert command.short_help in pages


def test_defaults_in_the_help_are_those_of_the_runtime():
    run = next(each for each in COMMANDS if each.name == "run")
    defaults = {}
    for parameter in run.params:
        found = re.search(r"\[default: ([\d.]+)\]", getattr(parameter, "help", None) or "")
        if found:
            defaults[parameter.name] = float(found[1])
    options = SamplingOptions()
    assert len(defaults) == 9
    assert defaults == {name: getattr(options, name) for name in defaults}
    assert DEFAULT_MODEL == catalogue.DEFAULT_MODEL
