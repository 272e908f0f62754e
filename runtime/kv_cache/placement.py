"""Where the rows of a step go in the KV cache, and which keys each of them sees."""

from dataclasses import dataclass, field

import numpy as np

from slipstream.cpu_kernels import Visibility
from slipstream.runtime.step_batch import StepBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
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
        past: np.ndarray,
        num_new: np.ndarray,
        page_size: int,
    ) -> "Placement":
        """page_tables (S, P), past and num_new (S,) int32, of the batch's sequences in order."""
        starts = (np.cumsum(num_new) - num_new).astype(np.int32)
        sequences = np.repeat(np.arange(len(starts), dtype=np.int32), num_new)
        own_row = np.arange(len(sequences)) - starts[sequences]
        index = past[sequences] + own_row
        return cls(
            pages=page_tables[sequences, index // page_size],
            offsets=(index % page_size).astype(np.int32),
            positions=batch.positions,
            everything=Visibility(
                sequences=sequences,
                page_tables=page_tables,
                past=past,
                first_key=np.zeros(len(sequences), np.int32),
                mask=_by_sequence(batch.ancestors, starts[sequences], int(num_new.max())),
                num_new=num_new,
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


def _by_sequence(ancestors: np.ndarray, starts: np.ndarray, most_new: int) -> np.ndarray:
    """(M, M) over the step's rows to (M, R) over each row's own sequence."""
    num_rows = len(ancestors)
    if most_new == num_rows:
        return ancestors
    columns = starts[:, None] + np.arange(most_new)
    inside = columns < num_rows
    picked = np.take_along_axis(ancestors, np.minimum(columns, num_rows - 1), axis=1)
    own: np.ndarray = picked & inside
    return own
