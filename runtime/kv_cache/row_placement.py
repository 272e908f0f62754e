"""Where the rows of a step go in the KV cache, and which keys each of them sees."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from slipstream.cpu_kernels import Visibility
from slipstream.runtime.step_batch import StepBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlacement:
    """The places of a step's M rows.

    pages, offsets : (M,) int32, page and place in it of each row's key and value
    positions      : (M,) int32, of each row in its sequence
    """

    pages: np.ndarray
    offsets: np.ndarray
    positions: np.ndarray
    everything: Visibility  # what each row sees where no window hides keys
    _windowed: dict[int, Visibility] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        batch: StepBatch,
        page_tables: np.ndarray,
        past: Sequence[int],
        num_new: Sequence[int],
        page_size: int,
    ) -> "RowPlacement":
        """page_tables (S, P) int32, past and num_new (S,), of the batch's sequences in order."""
        # Lists: a step of few rows would spend more time in calls of NumPy.
        sequences = [s for s, count in enumerate(num_new) for _ in range(count)]
        keys = [past[s] + i for s, count in enumerate(num_new) for i in range(count)]
        return cls(
            pages=page_tables[sequences, [key // page_size for key in keys]],
            offsets=np.array([key % page_size for key in keys], np.int32),
            positions=batch.positions,
            everything=Visibility(
                sequences=np.array(sequences, np.int32),
                page_tables=page_tables,
                past=np.array(past, np.int32),
                first_key=np.zeros(len(sequences), np.int32),
                mask=_by_sequence(batch.ancestors, num_new),
                num_new=np.array(num_new, np.int32),
            ),
        )

    def visibility(self, window: int | None) -> Visibility:
        """What each row sees; with a window only keys fewer than `window` positions back."""
        if window is None:
            return self.everything
        if window not in self._windowed:
            self._windowed[window] = self._within(window)
        return self._windowed[window]

    def _within(self, window: int) -> Visibility:
        """A committed key's position is its index in the sequence."""
        full = self.everything
        starts = np.cumsum(full.num_new) - full.num_new
        other = np.minimum(
            starts[full.sequences][:, None] + np.arange(full.mask.shape[1]),
            len(self.positions) - 1,
        )
        near = self.positions[:, None] - self.positions[other] < window
        first_key = np.clip(self.positions - window + 1, 0, full.past[full.sequences])
        return Visibility(
            sequences=full.sequences,
            page_tables=full.page_tables,
            past=full.past,
            first_key=first_key.astype(np.int32),
            mask=full.mask & near,
            num_new=full.num_new,
        )


def _by_sequence(ancestors: np.ndarray, num_new: Sequence[int]) -> np.ndarray:
    """(M, M) over the step's rows to (M, R) over each row's own sequence."""
    num_rows, most_new = len(ancestors), max(num_new)
    if most_new == num_rows:
        return ancestors.copy()  # steps that are kept write into it
    own = np.zeros((num_rows, most_new), np.bool_)
    start = 0
    for count in num_new:
        rows = slice(start, start + count)
        own[rows, :count] = ancestors[rows, rows]
        start += count
    return own
