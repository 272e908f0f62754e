"""The `slipstream` command."""

from slipstream.apps.cli.entry import main

__all__ = ["main"]
