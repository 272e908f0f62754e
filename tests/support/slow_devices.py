"""Stand-ins for devices: the compiled ops under another device's name, and a sleep in each step."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from slipstream.cpu_kernels import compiled
from slipstream.cpu_kernels.compiled.program import Program
from slipstream.runtime.backends import BACKENDS


class SlowProgram:
    """A step's ops, and a sleep as long as the device takes for them, with no GIL held."""

    def __init__(self, device: "SlowDevice", program: Program) -> None:
        self._device = device
        self._program = program

    def run(self) -> None:
        self._device.run(self._program.run)


class SlowDevice(ModuleType):
    """The ops of a backend on a device of this name.

    step_s : that each step sleeps
    steps  : number of them so far
    before : called before each step; may raise
    """

    def __init__(self, name: str, step_s: float) -> None:
        super().__init__(f"{__name__}.{name}")
        self.__dict__.update({each: getattr(compiled, each) for each in compiled.__all__})
        self.DEVICE = name
        self.capturing = self._capturing
        self.step_s = step_s
        self.steps = 0
        self.before: Callable[[], None] = lambda: None

    def run(self, ops: Callable[[], None]) -> None:
        self.steps += 1
        self.before()
        time.sleep(self.step_s)
        ops()

    @contextmanager
    def _capturing(self) -> Iterator[SlowProgram]:
        with compiled.capturing() as program:
            yield SlowProgram(self, program)


def slow_device(name: str, step_s: float, patch: pytest.MonkeyPatch) -> SlowDevice:
    """A device whose name names its backend too, while the patch lasts."""
    device = SlowDevice(name, step_s)
    patch.setitem(sys.modules, device.__name__, device)
    patch.setitem(BACKENDS, name, device.__name__)
    return device
