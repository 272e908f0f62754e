"""What benchmarks tell the terminal and the report of how they are run."""

import shlex
import sys
from datetime import UTC, datetime

from slipstream.apps.cli.console import say


def announce(model: str, side: str, what: int | str) -> None:
    """Say on a terminal what is being measured: a run's number, 0 to warm up, or a text."""
    if sys.stderr is not None and sys.stderr.isatty():
        text = what if isinstance(what, str) else f"run {what}" if what else "warming up"
        say(f"{model}: {side}, {text}")


def circumstances() -> dict[str, str]:
    """The command and the time, by the names that reports have for them."""
    return {
        "command": shlex.join(["slipstream", *sys.argv[1:]]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
