"""Ops that run without the host between them, as CUDA graphs."""

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_CAPTURING = threading.Lock()


class Graph:
    """Ops in their order; each run reads and writes the same tensors, and leaves others alone."""

    def __init__(self, pool: Any) -> None:
        """pool : torch's handle of the memory for what lies between the ops"""
        self.graph = torch.cuda.CUDAGraph()
        self.pool = pool

    def run(self) -> None:
        """Have the device run all ops, after what it was given before; does not wait for it."""
        self.graph.replay()


_SHARING: "weakref.WeakSet[Graph]" = weakref.WeakSet()  # graphs whose pool takes more of them


@contextmanager
def capturing() -> Iterator[Graph]:
    """The ops that this thread calls meanwhile, none of which runs before the graph does.

    Each must have run before with arguments of the same kind, so that its kernel is there. Graphs
    share the memory of what lies between their ops: they run on one stream, one after another.
    """
    with _CAPTURING, _no_collection(), torch.cuda.stream(_stream()):
        # A pool ends with its last graph, and with a capture that fails. Those here live until
        # the new graph has it too.
        sharing = list(_SHARING)
        captured = Graph(sharing[0].pool if sharing else torch.cuda.graph_pool_handle())
        try:
            captured.graph.capture_begin(pool=captured.pool, capture_error_mode="thread_local")
            try:
                yield captured
            finally:
                captured.graph.capture_end()
        except BaseException:
            _SHARING.clear()
            raise
        _SHARING.add(captured)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No finalizer runs within: to free memory of the device would end a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@cache
def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()
