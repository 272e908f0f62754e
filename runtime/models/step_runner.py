"""Runs steps; one of a shape that came before is run again without Python between its ops."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from slipstream.runtime.backends import Backend
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models.forward_pass import ForwardPass
from slipstream.runtime.models.registry import Model
from slipstream.runtime.models.step_inputs import StepInputs
from slipstream.runtime.models.workspace import Workspace
from slipstream.runtime.step_batch import StepBatch

_MOST_ROWS = 64  # of a step that is recorded: in larger ones Python takes no noticeable share
_MOST_RECORDED = 64  # shapes; a recording of 180 ops takes some 0.1 MB

_Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """The ops of a step as the backend recorded them, and the arrays that they read and wrote."""

    inputs: StepInputs
    program: Any
    logits: np.ndarray


class StepRunner:
    """A model with its cache and buffers."""

    def __init__(self, model: Model, cache: KVCache, backend: Backend) -> None:
        self._model = model
        self._cache = cache
        self._backend = backend
        self._workspace = Workspace()
        self._record = getattr(backend.ops, "record", None)  # not every backend can
        self._recorded: OrderedDict[_Shape, _Recorded] = OrderedDict()

    def logits(self, batch: StepBatch) -> np.ndarray:
        """Logits (W, V) of the batch's wanted rows, valid until the next step.

        Its keys and values are placed in the cache and not yet committed.
        Raises CacheFullError, with nothing changed, when they do not fit.
        """
        placement = self._cache.place(batch)
        shape = (
            len(batch.tokens),
            *placement.everything.mask.shape,
            len(placement.everything.past),
        )
        known = self._recorded.get(shape)
        if known is not None and len(batch.wanted) == len(batch.tokens):
            self._recorded.move_to_end(shape)
            known.inputs.renew(batch, placement)
            known.program.run()
            return known.logits
        inputs = StepInputs(batch, placement)
        step = ForwardPass(inputs, self._cache, self._backend, self._workspace)
        whole = len(batch.wanted) == len(batch.tokens) <= _MOST_ROWS
        if self._record is None or not whole:
            return self._model.forward(step)
        with self._record() as recording:
            logits = self._model.forward(step)
        self._recorded[shape] = _Recorded(inputs=inputs, program=recording.program, logits=logits)
        if len(self._recorded) > _MOST_RECORDED:
            self._recorded.popitem(last=False)
        return logits
