"""How long work takes on the GPU, without what launching it takes."""

import statistics
from collections.abc import Callable, Sequence

import torch

from slipstream.gpu_kernels.capture import capturing
from slipstream.gpu_kernels.tensors import synchronize

RUNS = 5  # of which the median counts
ENOUGH_S = 0.005  # of work in a run: far more than starting and stopping the clock takes
MOST_CALLS = 64  # in a run; a shorter run is of calls that take next to nothing


def seconds_a_call(calls: Sequence[Callable[[], object]]) -> float:
    """Seconds that one of these calls takes on the GPU, taken in turn: at least each once.

    The calls are recorded as a CUDA graph, which is launched at once. Calls in turn over different
    memory, more than the caches hold, take what they would in a model.
    """
    for call in calls:
        call()  # compiled now, if it was not
    once = seconds_on_gpu(calls[0])
    turns = max(1, min(int(ENOUGH_S / max(once, 1e-9)), MOST_CALLS) // len(calls))
    with capturing() as graph:
        for _ in range(turns):
            for call in calls:
                call()
    graph.run()
    return statistics.median(seconds_on_gpu(graph.run) for _ in range(RUNS)) / (turns * len(calls))


def seconds_on_gpu(work: Callable[[], object]) -> float:
    """Seconds between events on the device, before and after some work; waits for it."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    synchronize()
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3
