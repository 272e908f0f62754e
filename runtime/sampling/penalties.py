"""Penalties on tokens that the recent context already has."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def recent_counts(
    history: Sequence[int], last_n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct tokens among the last `last_n` of `history`, and how often each is there.

    last_n : -1 is the whole history
    Returns ids, counts : (R,) int64 each, ids ascending
    """
    start = 0 if last_n < 0 else max(0, len(history) - last_n)
    return np.unique_counts(np.asarray(history[start:], dtype=np.int64))


def penalised(
    logits: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    *,
    repeat: float,
    presence: float,
    frequency: float,
) -> npt.NDArray[np.float64]:
    """The logits of recent tokens after the repeat, presence and frequency penalties.

    l > 0:   l / repeat - presence - frequency * count
    l <= 0:  l * repeat - presence - frequency * count

    logits, counts : (R,), every count at least 1
    Source: arXiv:1909.05858 (CTRL), section 4.1, which divides whatever the sign; multiplying a
    negative logit is what makes it a penalty there too. Presence and frequency: the OpenAI API
    reference, applied to prompt and answer alike.
    """
    repeated = np.where(logits > 0, logits / repeat, logits * repeat)
    return repeated - presence - frequency * counts
