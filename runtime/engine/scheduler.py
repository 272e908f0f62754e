"""Chooses the rows of the next step: every sequence's next token, then one chunk of a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from slipstream.runtime.engine.job import LARGEST_CHUNK, Job
from slipstream.runtime.speculation import EMPTY, DraftTree
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
    """A step, and for each job in it how many of its tokens and which wanted rows belong to it.

    tree     : the draft of the one job, in a step that verifies one
    streamed : whether the GPU computes all layers, those in RAM from copies
    """

    batch: StepBatch
    jobs: list[tuple[Job, int, slice]]
    tree: DraftTree = EMPTY
    streamed: bool = False


def _verification(job: Job, tree: DraftTree) -> ScheduledStep:
    """The step of a pending token, which is the tree's root, and its draft."""
    tokens = [job.tokens[-1], *tree.tokens]
    parents = [-1, *(parent + 1 for parent in tree.parents)]
    batch = StepBatch.tree(job.slot, job.cached, tokens, parents, keeps_all=job.wants_hidden)
    return ScheduledStep(batch, [(job, 1, slice(0, len(tokens)))], tree)


def schedule(running: Sequence[Job], max_prefill_rows: int) -> ScheduledStep:
    """All jobs with one token pending, and the first with more. `running` must not be empty.

    A job that has the engine to itself may have a draft verified; with others beside it the step's
    rows are spent on theirs.
    """
    if len(running) == 1 and running[0].num_pending == 1:
        job = running[0]
        tree = job.draft()
        if tree:
            return _verification(job, tree)
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
    keeps_all = any(job.wants_hidden for job, _ in chosen)
    return ScheduledStep(StepBatch.linear(runs, wanted, keeps_all=keeps_all), jobs)
