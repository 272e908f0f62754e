"""This machine with free memory and no GPU: tests of tiny models must not depend on those."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from slipstream.runtime.planning import planner

# The same for a program that a test starts.
ROOMY = """
from dataclasses import replace
from slipstream.runtime.planning import planner
machine = replace(planner.probe(), ram_total_bytes=1 << 34, ram_available_bytes=1 << 33, gpus=())
planner.probe = lambda: machine
"""


@contextmanager
def roomy_machine() -> Iterator[None]:
    """Models load within as if 8 GiB were free and there were no GPU."""
    machine = replace(
        planner.probe(), ram_total_bytes=1 << 34, ram_available_bytes=1 << 33, gpus=()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "probe", lambda: machine)
        yield
