"""Shows somebody at a terminal why loading takes a while."""

import sys
import time

from slipstream.runtime.loading_steps import Progress

_PATIENCE_S = 0.5  # a stage shorter than this is not worth a line


def terminal_progress() -> Progress | None:
    """Progress on standard error, rewritten in place; None when it is not a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    started: dict[str, float] = {}

    def show(stage: str, done: int, total: int) -> None:
        start = started.setdefault(stage, time.monotonic())
        if time.monotonic() - start < _PATIENCE_S:
            return
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{stage}: {done} of {total}{end}")
        sys.stderr.flush()

    return show
