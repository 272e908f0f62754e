"""Lets every test import the shared helpers in tests/support as `support.<module>`."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support.roomy_machine import roomy_machine
from support.scripted_model import ScriptedEngine
from support.time_limit import time_limit
from support.tiny_llm import tiny_llm

# A shell starts background jobs with Ctrl-C ignored, and they pass it on to the programs they
# start; the tests that interrupt a program need what a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def never_hangs() -> Iterator[None]:
    """A time limit for tests of what waits for other threads."""
    with time_limit(120):
        yield


@pytest.fixture
def roomy() -> Iterator[None]:
    """A machine with memory for any tiny model, whatever this one has left."""
    with roomy_machine():
        yield


@pytest.fixture
def eight() -> Iterator[ScriptedEngine]:
    """An engine whose cache has eight pages of 64 tokens."""
    scripted = ScriptedEngine()
    yield scripted
    scripted.close()


@pytest.fixture(scope="module")
def llm() -> Iterator[object]:
    """A tiny random chat model."""
    with tiny_llm() as llm:
        yield llm
