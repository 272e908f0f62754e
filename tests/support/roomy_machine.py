"""This machine as if nobody else used its memory: tests of tiny models must not depend on that."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from slipstream.runtime import planning

# The same for a program that a test starts.
ROOMY = """
from dataclasses import replace
from slipstream.runtime import planning
machine = replace(planning.probe(), ram_total_bytes=1 << 34, ram_available_bytes=1 << 33)
planning.probe = lambda: machine
"""


@contextmanager
def roomy_machine() -> Iterator[None]:
    """Models load within as if 8 GiB were free."""
    machine = replace(planning.probe(), ram_total_bytes=1 << 34, ram_available_bytes=1 << 33)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "probe", lambda: machine)
        yield
