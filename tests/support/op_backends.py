"""The backends that are compared with the reference."""

from types import ModuleType

import pytest

from slipstream.runtime.backends import BACKENDS, load_backend
from slipstream.runtime.errors import OptionError

OTHER_BACKENDS = tuple(name for name in BACKENDS if name != "reference")


def load_ops(name: str) -> ModuleType:
    """The ops of a backend; skips the test, saying why, where it can't be imported."""
    try:
        return load_backend(name).ops
    except OptionError as error:
        pytest.skip(str(error))
