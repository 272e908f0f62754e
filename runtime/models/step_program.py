"""What a step does, leg by leg: ops on one device, a copy, ops on the next."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType, TracebackType
from typing import Any, Self

_Run = Callable[[], object]


class StepProgram:
    """Legs and copies in their order; each run reads and writes the same arrays."""

    def __init__(self) -> None:
        self._parts: list[_Run] = []

    def add(self, run: _Run) -> None:
        self._parts.append(run)

    def run(self) -> None:
        for run in self._parts:
            run()


class StepRecorder:
    """Follows a step over the devices; as a context manager it ends the last leg.

    The ops of a leg in host memory run when it ends, together. Those of a device with memory of its
    own run as they are called: it works through them while the host goes on. In a step that is to
    be kept nothing runs: legs and copies become a program.

    link_bytes : that the copies bring from or to a device
    """

    def __init__(self, program: StepProgram | None = None) -> None:
        """program : takes what the step does; None runs it"""
        self.link_bytes = 0
        self._program = program
        self._leg: AbstractContextManager[Any] | None = None
        self._captured: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.end_leg()
        elif self._leg is not None:
            self._leg.__exit__(kind, error, traceback)

    def begin_leg(self, ops: ModuleType) -> None:
        """The step goes on with these ops."""
        self.end_leg()
        if hasattr(ops, "capturing") and (ops.IN_HOST_MEMORY or self._program is not None):
            self._leg = ops.capturing()
            self._captured = self._leg.__enter__()

    def end_leg(self) -> None:
        """No op comes any more, or what they compute is needed now."""
        if self._leg is not None:
            leg, self._leg = self._leg, None
            leg.__exit__(None, None, None)
            self._take(self._captured.run)

    def copy(self, run: _Run, num_bytes: int) -> None:
        """Between two legs, copy so many bytes from or to a device."""
        self.end_leg()
        self.link_bytes += num_bytes
        self._take(run)

    def _take(self, run: _Run) -> None:
        if self._program is None:
            run()
        else:
            self._program.add(run)
