"""A step on one device: its ops, places, angles and buffers as they are in its memory."""

from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np

from slipstream.cpu_kernels import Visibility
from slipstream.runtime.backends import Backend
from slipstream.runtime.kv_cache import RowPlacement
from slipstream.runtime.models.rope import RopeTable
from slipstream.runtime.models.step_inputs import StepInputs
from slipstream.runtime.models.workspace import Workspaces
from slipstream.runtime.step_batch import StepBatch


class StepSide:
    """What the layers on one device share in a step.

    Arrays of `inputs` are brought there when they are first asked for, and by `renew` again.
    """

    def __init__(self, backend: Backend, inputs: StepInputs, workspaces: Workspaces) -> None:
        self.backend = backend
        self.ops = backend.ops
        self._inputs = inputs
        self._workspace = workspaces.of(backend)
        self._mirror = backend.ops.Mirror()
        self._taken: list[Any] = []  # kept alive: a kept step goes by their addresses
        self._brought: dict[int, Any] = {}  # by id of an array of `inputs`, which keeps it alive
        self._angles: dict[RopeTable, tuple[Any, Any]] = {}
        self._visibility: dict[int | None, Visibility] = {}

    def take(self, name: str, *shape: int) -> Any:
        """As `Workspace.take`."""
        array = self._workspace.take(name, *shape)
        self._taken.append(array)
        return array

    def renew(self) -> None:
        """Bring what `inputs` now holds."""
        self._mirror.renew()

    @property
    def mirrored_bytes(self) -> int:
        """That `renew` brings."""
        num_bytes: int = self._mirror.num_bytes
        return num_bytes

    @cached_property
    def pages(self) -> Any:
        """(M,) int32, of each row's key and value."""
        return self._mirror.add(self._inputs.pages)

    @cached_property
    def offsets(self) -> Any:
        """(M,) int32, places in those pages."""
        return self._mirror.add(self._inputs.offsets)

    def bring(self, array: np.ndarray) -> Any:
        """One of the arrays of `inputs`, there, to be read."""
        if id(array) not in self._brought:
            self._brought[id(array)] = self._mirror.add(array)
        return self._brought[id(array)]

    def angles(self, table: RopeTable) -> tuple[Any, Any]:
        """Cosines and sines of the rows' positions, (M, R) float32 each."""
        if table not in self._angles:
            cos, sin = self._inputs.array(table, lambda batch, _: table.angles(batch.positions))
            self._angles[table] = self._mirror.add(cos), self._mirror.add(sin)
        return self._angles[table]

    def visibility(self, window: int | None) -> Visibility:
        """Which keys the rows see, those fewer than `window` positions back if there is one."""
        if window not in self._visibility:
            host = self._inputs.visibility(window)
            arrays = {each.name: getattr(host, each.name) for each in fields(host)}
            self._visibility[window] = Visibility(
                **{name: self._mirror.add(array) for name, array in arrays.items()}
            )
        return self._visibility[window]


class StepSides:
    """A step's side on each device that it comes to."""

    def __init__(self, inputs: StepInputs, workspaces: Workspaces) -> None:
        self.inputs = inputs
        self.workspaces = workspaces
        self._of: dict[Backend, StepSide] = {}

    def of(self, backend: Backend) -> StepSide:
        side = self._of.get(backend)
        if side is None:
            side = self._of[backend] = StepSide(backend, self.inputs, self.workspaces)
        return side

    def renew(self, batch: StepBatch, placement: RowPlacement) -> None:
        """Fill the arrays of all devices for another step of the same shape."""
        self.inputs.renew(batch, placement)
        for side in self._of.values():
            side.renew()

    @property
    def mirrored_bytes(self) -> int:
        """That `renew` brings to devices."""
        return sum(side.mirrored_bytes for side in self._of.values())
