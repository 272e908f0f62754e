"""What opening a model file says when it refuses."""

from pathlib import Path

import pytest

from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError, UnsupportedError


def refusal(path: Path) -> str:
    """The message of the refusal to open this file, which must name the file."""
    with pytest.raises(CheckpointError) as caught:
        ModelFile.open(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def unsupported(path: Path) -> str:
    """The message when the file is sound but needs what is not implemented."""
    with pytest.raises(UnsupportedError) as caught:
        ModelFile.open(path)
    assert str(path) in str(caught.value)
    return str(caught.value)
