"""Runs steps: first all their ops are collected, which steps of one shape share, then they run."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from slipstream.cpu_kernels import RmsNorm
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models.forward_pass import ForwardPass
from slipstream.runtime.models.layer_devices import Devices
from slipstream.runtime.models.registry import Model
from slipstream.runtime.models.step_inputs import StepInputs
from slipstream.runtime.models.workspace import ROWS_AT_LEAST, Workspaces
from slipstream.runtime.step_batch import StepBatch

_MOST_ROWS = ROWS_AT_LEAST  # of a step that is kept: in larger ones Python takes no large share
_MOST_KEPT = 64  # shapes; a step of 180 ops takes some 0.1 MB

_Shape = tuple[int, int, int]  # M, R, S: what the shapes of all inputs follow from
_Last = tuple[Any, RmsNorm | None] | None  # rows that the head was given, and its norm


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeptStep:
    """The ops of a step, and the arrays that they read and write."""

    inputs: StepInputs
    program: Any
    logits: np.ndarray
    last: _Last


class StepRunner:
    """A model with its cache and buffers."""

    def __init__(self, model: Model, cache: KVCache, devices: Devices) -> None:
        """devices : those that the model was loaded to, and the cache's pages are on"""
        self._model = model
        self._cache = cache
        self._devices = devices
        self._head_ops = devices.of_head.ops
        self._workspaces = Workspaces()
        self._capture = devices.capture
        self._kept: OrderedDict[_Shape, _KeptStep] = OrderedDict()
        self._last: _Last = None

    def logits(self, batch: StepBatch) -> np.ndarray:
        """Logits (W, V) of the batch's wanted rows, valid until the next step.

        Its keys and values are placed in the cache and not yet committed.
        Raises CacheFullError, with nothing changed, when they do not fit.
        """
        placement = self._cache.place(batch)
        num_rows, most_new = placement.everything.mask.shape
        shape = (num_rows, most_new, len(placement.everything.past))
        is_kept = self._capture is not None and len(batch.wanted) == num_rows <= _MOST_ROWS
        known = self._kept.get(shape) if is_kept else None
        if known is not None:
            self._kept.move_to_end(shape)
            known.inputs.renew(batch, placement)
            known.program.run()
            self._last = known.last
            return known.logits
        logits: np.ndarray
        inputs = StepInputs(batch, placement)
        step = ForwardPass(inputs, self._cache, self._devices, self._workspaces)
        if self._capture is None or inputs.wanted_span is None:
            # Rows that lie apart are copied, which must wait for the ops that compute them.
            logits = self._head_ops.to_host(self._model.forward(step))
            self._last = step.last
            return logits
        logits, program = self._capture(lambda: self._model.forward(step))
        program.run()
        self._last = step.last
        if not is_kept:
            return logits
        self._kept[shape] = _KeptStep(inputs=inputs, program=program, logits=logits, last=step.last)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return logits

    def hidden(self) -> np.ndarray:
        """What the last step's head consumed: final-normed hidden states, float32.

        (W, C) of its wanted rows, or (M, C) where its batch keeps all. A new array.
        """
        assert self._last is not None, "the model has no head, or no step was run"
        x, norm = self._last
        if norm is not None:
            out = self._head_ops.empty(*x.shape)
            x = self._head_ops.rms_norm(x, norm, out=out)
        hidden: np.ndarray = np.array(self._head_ops.to_host(x))
        return hidden
