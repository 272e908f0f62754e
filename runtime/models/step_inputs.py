"""The arrays that the ops of a step read beside weights and cache: made anew for every step."""

from collections.abc import Callable, Hashable
from dataclasses import fields

import numpy as np

from slipstream.cpu_kernels import Visibility
from slipstream.runtime.kv_cache import RowPlacement
from slipstream.runtime.step_batch import StepBatch

_Make = Callable[[StepBatch, RowPlacement], np.ndarray]


class StepInputs:
    """Arrays made from a batch and its places; `renew` makes them again, where they are.

    wanted      : rows, as in the batch; not renewed, since only steps that want all are kept
    wanted_span : the same where they follow one another, else None
    keeps_all   : as in the batch
    """

    def __init__(self, batch: StepBatch, placement: RowPlacement) -> None:
        self._batch = batch
        self._placement = placement
        self._made: dict[Hashable, tuple[np.ndarray, _Make]] = {}
        self.num_rows = len(batch.tokens)
        self.wanted = batch.wanted
        self.wanted_span = _span(batch.wanted)
        self.keeps_all = batch.keeps_all
        self.pages = self.array("pages", lambda _, placed: placed.pages)
        self.offsets = self.array("offsets", lambda _, placed: placed.offsets)

    def array(self, key: Hashable, make: _Make) -> np.ndarray:
        """What `make` returned first; `renew` calls it again and copies into the same array.

        key : what it is, of this step
        """
        if key not in self._made:
            self._made[key] = make(self._batch, self._placement), make
        return self._made[key][0]

    def visibility(self, window: int | None) -> Visibility:
        """As `RowPlacement.visibility`."""

        def made(name: str) -> np.ndarray:
            return self.array(
                (window, name), lambda _, placed: getattr(placed.visibility(window), name)
            )

        return Visibility(**{field.name: made(field.name) for field in fields(Visibility)})

    def renew(self, batch: StepBatch, placement: RowPlacement) -> None:
        """Fill all arrays for another step of the same shape."""
        for array, make in self._made.values():
            array[...] = make(batch, placement)


def _span(rows: np.ndarray) -> slice | None:
    if not len(rows):
        return slice(0, 0)
    first, end = int(rows[0]), int(rows[-1]) + 1
    return slice(first, end) if end - first == len(rows) else None
