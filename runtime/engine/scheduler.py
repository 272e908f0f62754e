"""Chooses the rows of the next step: every sequence's next token, then one chunk of a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from slipstream.runtime.engine.job import LARGEST_CHUNK, Job
from slipstream.runtime.step_batch import StepBatch


class PrefillPace:
    """How many prompt rows a step may take so that it lasts about `target_s`.

    A cancellation waits for at most one step, others' tokens for half of one: they get half as many
    rows beside them. Source of the idea: Sarathi-Serve, arXiv:2403.02310.
    """

    SMALLEST = 32

    def __init__(self, target_s: float = 1.0) -> None:
        self._target_s = target_s
        self.rows = 128

    def observe(self, rows: int, seconds: float) -> None:
        """A step of `rows` took `seconds`; follow with a step's delay, in multiples of 32."""
        if rows < self.SMALLEST:
            return
        fitting = int(self._target_s * rows / seconds) // self.SMALLEST * self.SMALLEST
        self.rows = max(self.SMALLEST, min(LARGEST_CHUNK, fitting, 2 * self.rows))


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    """A step, and for each job in it how many of its tokens and which wanted rows belong to it."""

    batch: StepBatch
    jobs: list[tuple[Job, int, slice]]


def schedule(running: Sequence[Job], max_prefill_rows: int) -> ScheduledStep:
    """All jobs with one token pending, and the first with more. `running` must not be empty."""
    chosen = [(job, 1) for job in running if job.num_pending == 1]
    prefill = next((job for job in running if job.num_pending > 1), None)
    if prefill is not None:
        if chosen:
            max_prefill_rows = max(1, max_prefill_rows // 2)
        count = min(prefill.num_pending, max_prefill_rows, prefill.chunk_limit)
        chosen.append((prefill, count))
    runs: list[tuple[int, int, list[int]]] = []
    wanted: list[int] = []
    jobs: list[tuple[Job, int, slice]] = []
    row = 0
    for job, count in chosen:
        runs.append((job.slot, job.cached, job.tokens[job.cached : job.cached + count]))
        rows = [row + i for i in job.wanted(count)]
        jobs.append((job, count, slice(len(wanted), len(wanted) + len(rows))))
        wanted.extend(rows)
        row += count
    return ScheduledStep(StepBatch.linear(runs, wanted), jobs)
