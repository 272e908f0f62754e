"""Ops that run without the host between them, as CUDA graphs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_CAPTURING = threading.Lock()


class Graph:
    """Ops in their order; each run reads and writes the same tensors, and leaves others alone."""

    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    def run(self) -> None:
        """Have the device run all ops, after what it was given before; does not wait for it."""
        self.graph.replay()


@contextmanager
def capturing() -> Iterator[Graph]:
    """The ops that this thread calls meanwhile, none of which runs before the graph does.

    Each must have run before with arguments of the same kind, so that its kernel is there. Graphs
    share the memory of what lies between their ops: they run on one stream, one after another.
    """
    captured = Graph()
    stream = _stream()
    stream.wait_stream(torch.cuda.current_stream())
    with _CAPTURING, torch.cuda.stream(stream):
        captured.graph.capture_begin(pool=_pool(), capture_error_mode="thread_local")
        try:
            yield captured
        finally:
            captured.graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)


@cache
def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()


@cache
def _pool() -> Any:
    return torch.cuda.graph_pool_handle()
