"""A step on one device: its ops, places, angles and buffers as they are in its memory."""

from dataclasses import fields
from functools import cached_property
from typing import Any

from slipstream.cpu_kernels import Visibility
from slipstream.runtime.backends import Backend
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.step_inputs import StepInputs
from slipstream.runtime.models.workspace import Workspace


class StepSide:
    """What the layers on one device share in a step; its arrays are brought there when asked for.

    In host memory they are those of `inputs`, which can be renewed where they are.
    """

    def __init__(self, backend: Backend, inputs: StepInputs, workspace: Workspace) -> None:
        self.ops = backend.ops
        self.take = workspace.take
        self._inputs = inputs
        self._angles: dict[RopeTable, tuple[Any, Any]] = {}
        self._visibility: dict[int | None, Visibility] = {}

    @cached_property
    def pages(self) -> Any:
        """(M,) int32, of each row's key and value."""
        return self.ops.from_host(self._inputs.pages)

    @cached_property
    def offsets(self) -> Any:
        """(M,) int32, places in those pages."""
        return self.ops.from_host(self._inputs.offsets)

    def angles(self, table: RopeTable) -> tuple[Any, Any]:
        """Cosines and sines of the rows' positions, (M, R) float32 each."""
        if table not in self._angles:
            both = self._inputs.array(lambda batch, _: table.angles(batch.positions))
            self._angles[table] = self.ops.from_host(both[0]), self.ops.from_host(both[1])
        return self._angles[table]

    def visibility(self, window: int | None) -> Visibility:
        """Which keys the rows see, those fewer than `window` positions back if there is one."""
        if window not in self._visibility:
            host = self._inputs.visibility(window)
            arrays = {each.name: getattr(host, each.name) for each in fields(host)}
            self._visibility[window] = Visibility(
                **{name: self.ops.from_host(array) for name, array in arrays.items()}
            )
        return self._visibility[window]
