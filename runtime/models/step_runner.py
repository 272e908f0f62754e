"""Runs steps: first all their ops are collected, which steps of one shape share, then they run."""

import logging
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.kv_cache import KVCache, RowPlacement
from slipstream.runtime.models.forward_pass import Array, ForwardPass
from slipstream.runtime.models.layer_devices import Devices
from slipstream.runtime.models.layer_stream import LayerStream
from slipstream.runtime.models.layers_in_place import LayersInPlace
from slipstream.runtime.models.registry import Model
from slipstream.runtime.models.step_inputs import StepInputs
from slipstream.runtime.models.step_program import StepProgram, StepRecorder
from slipstream.runtime.models.step_side import StepSides
from slipstream.runtime.models.workspace import ROWS_AT_LEAST, Workspaces
from slipstream.runtime.step_batch import StepBatch

log = logging.getLogger(__name__)

_MOST_ROWS = ROWS_AT_LEAST  # of a step that is kept: in larger ones Python takes no large share
_ALL_ROWS = slice(None)
_MOST_KEPT = 64  # shapes; a step of 180 ops takes some 0.1 MB

_Shape = tuple[int, int, int]  # M, R, S: what the shapes of all inputs follow from
_Last = tuple[Array, RmsNorm | None] | None  # rows that the head was given, and its norm


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeptStep:
    """A step that runs again, and the arrays that it reads and writes."""

    sides: StepSides
    program: StepProgram
    logits: Array
    last: _Last
    link_bytes: int


class StepRunner:
    """A model with its cache and buffers.

    link_bytes           : copied so far between the host and devices with memory of their own
    device_memory_errors : that a step ends with when a device's memory runs out
    """

    def __init__(
        self, model: Model, cache: KVCache, devices: Devices, stream: LayerStream | None = None
    ) -> None:
        """devices : those that the model was loaded to, and the cache's pages are on

        stream : for steps whose layers the GPU computes all, if there may be some
        """
        self._model = model
        self._cache = cache
        self._layers = LayersInPlace(cache, devices)
        self._stream = stream
        self._head = devices.of_head
        self._workspaces = Workspaces()
        self._keeps = all(hasattr(each.ops, "capturing") for each in devices.backends)
        self._in_host_memory = all(each.ops.IN_HOST_MEMORY for each in devices.backends)
        self._kept: OrderedDict[_Shape, _KeptStep] = OrderedDict()
        self._too_large: set[_Shape] = set()  # shapes of steps that can't be kept
        self._last: _Last = None
        self.link_bytes = 0
        used = {*devices.backends, *(() if stream is None else stream.devices.backends)}
        self._devices_used = [each for each in used if not each.ops.IN_HOST_MEMORY]
        self.device_memory_errors: tuple[type[Exception], ...] = tuple(
            each.ops.DeviceMemoryError for each in self._devices_used
        )

    def logits(self, batch: StepBatch, *, streamed: bool = False) -> np.ndarray:
        """As `run`, in host memory."""
        return self.to_host(self.run(batch, streamed=streamed))

    def run(self, batch: StepBatch, *, streamed: bool = False) -> Array:
        """Logits (W, V) of the batch's wanted rows, where the head is, valid until the next step.

        Its keys and values are placed in the cache and not yet committed.
        streamed : all layers by the GPU, to which those in the host's memory are copied
        Raises CacheFullError, with nothing changed, when they do not fit.
        """
        placement = self._cache.place(batch)
        if streamed:
            return self._run_streamed(batch, placement)
        num_rows, most_new = placement.everything.mask.shape
        shape = (num_rows, most_new, len(placement.everything.past))
        may_keep = self._keeps and len(batch.wanted) == num_rows <= _MOST_ROWS
        kept = self._kept.get(shape) if may_keep else None
        if kept is not None:
            self._kept.move_to_end(shape)
            kept.sides.renew(batch, placement)
            return self._run_kept(kept)
        sides = StepSides(StepInputs(batch, placement), self._workspaces)
        if not may_keep:
            return self._run_once(sides)
        if self._in_host_memory:
            return self._run_kept(self._keep(shape, sides))
        logits = self._run_once(sides)
        self._keep_if_it_fits(shape, sides)
        return logits

    def to_host(self, array: Array, name: str = "logits") -> np.ndarray:
        """An array of the head's device in host memory, valid until the next of that name."""
        host: np.ndarray = array
        if not self._head.ops.IN_HOST_MEMORY:
            out = self._workspaces.copied_from(self._head).take(name, *array.shape)
            host = self._head.ops.to_host(array, out=out)
            self.link_bytes += host.nbytes
        return host

    def hidden(self, rows: slice = _ALL_ROWS) -> np.ndarray:
        """What the last step's head consumed: final-normed hidden states, float32.

        (W, C) of its wanted rows, or (M, C) where its batch keeps all, or `rows` of them. A new
        array.
        """
        assert self._last is not None, "the model has no head, or no step was run"
        x, norm = self._last
        x = x[rows]
        if norm is not None:
            x = self._head.ops.rms_norm(x, norm, out=self._head.ops.empty(*x.shape))
        return np.array(self.to_host(x, "hidden"))

    def _run_kept(self, kept: _KeptStep) -> Array:
        kept.program.run()
        self._last = kept.last
        self.link_bytes += kept.link_bytes
        return kept.logits

    def _run_once(self, sides: StepSides, stream: LayerStream | None = None) -> Array:
        with StepRecorder() as recorder:
            step = ForwardPass(sides, stream or self._layers, recorder)
            logits = self._model.forward(step)
        self._last = step.last
        self.link_bytes += recorder.link_bytes + sides.mirrored_bytes
        return logits

    def _run_streamed(self, batch: StepBatch, placement: RowPlacement) -> Array:
        assert self._stream is not None, "there is nothing to stream"
        try:
            self._stream.begin(placement)
            sides = StepSides(StepInputs(batch, placement), self._workspaces)
            logits = self._run_once(sides, self._stream)
        finally:
            self._stream.end()
        self.link_bytes += self._stream.link_bytes
        return logits

    def _keep_if_it_fits(self, shape: _Shape, sides: StepSides) -> None:
        """Keep a step that has run, unless a device has no memory for what lies between its ops."""
        if shape in self._too_large:
            return
        for _ in range(2):
            try:
                self._keep(shape, sides)
                return
            except self.device_memory_errors:
                pass  # and with the error its frames, which keep tensors alive
            for each in self._devices_used:
                each.ops.release_unused()
        self._too_large.add(shape)
        log.warning(
            "The GPU has no memory left to keep a step of %d rows: it runs slower.", shape[0]
        )

    def _keep(self, shape: _Shape, sides: StepSides) -> _KeptStep:
        """Collect what the step does.

        On a device with memory of its own it must have run: arrays are brought there, and kernels
        compiled, when they are first needed, which can't be collected.
        """
        program = StepProgram()
        with StepRecorder(program) as recorder:
            step = ForwardPass(sides, self._layers, recorder)
            logits = self._model.forward(step)
        kept = self._kept[shape] = _KeptStep(
            sides=sides,
            program=program,
            logits=logits,
            last=step.last,
            link_bytes=recorder.link_bytes + sides.mirrored_bytes,
        )
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return kept
