"""A stand-in for a device with memory of its own: the reference's or compiled ops, on its arrays.

An op that is given an array of the host's, or a host's that is given one of the device's, fails.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

import numpy as np

from slipstream.cpu_kernels import KVPages
from slipstream.runtime.backends import Backend
from support.staged_standin import (
    StandinPageLock,
    StandinStagedLayer,
    panels_bytes,
    staged_arrays,
)

OPS = ("attention", "blend_gated", "matmul", "rms_norm", "rotate_and_store", "top_k")


class DeviceMemoryError(Exception):
    """The stand-in has no memory left."""


class DeviceArray(np.ndarray):
    """An array in the device's memory."""


class DevicePages(KVPages):
    """Pages in the device's memory."""

    @classmethod
    def empty(cls, **sizes: Any) -> "DevicePages":
        pages = KVPages.empty(**sizes)
        arrays = {each.name: getattr(pages, each.name) for each in fields(pages)}
        return cls(**{name: as_device(array) for name, array in arrays.items()})


def as_device(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.view(DeviceArray)


def arrays_in(given: Any) -> Iterator[np.ndarray]:
    """All arrays of an argument: itself, or those in a norm, in pages or in visibility."""
    if isinstance(given, np.ndarray):
        yield given
    elif is_dataclass(given) and type(given).__name__ != "Weight":
        for each in fields(given):
            yield from arrays_in(getattr(given, each.name))


def checked(op: Callable[..., Any], wants_device: bool) -> Callable[..., Any]:
    def run(*given: Any, **named: Any) -> Any:
        for argument in (*given, *named.values()):
            for array in arrays_in(argument):
                assert isinstance(array, DeviceArray) == wants_device, (op.__name__, array.shape)
        return op(*given, **named)

    return run


class DeviceMirror:
    """Arrays of the host, and the device's copies of them."""

    def __init__(self) -> None:
        self._pairs: list[tuple[np.ndarray, DeviceArray]] = []

    def add(self, array: np.ndarray) -> DeviceArray:
        self._pairs.append((array, from_host(array)))
        return self._pairs[-1][1]

    def renew(self) -> None:
        for array, on_device in self._pairs:
            on_device[...] = array

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array, _ in self._pairs)


def strict_backend(name: str, ops: ModuleType, *, on_device: bool) -> Backend:
    """A backend whose ops take the arrays of its memory alone; the host's where not `on_device`."""
    module = ModuleType(f"{__name__}.{name}")
    module.__dict__.update({each: getattr(ops, each) for each in ops.__all__})
    for each in OPS:
        setattr(module, each, checked(getattr(ops, each), on_device))
    if on_device:
        module.IN_HOST_MEMORY = False
        module.KVPages = DevicePages
        module.Mirror = DeviceMirror
        module.empty = lambda *shape: np.empty(shape, np.float32).view(DeviceArray)
        module.empty_host = lambda *shape: np.empty(shape, np.float32)
        module.from_host = from_host
        module.to_host = to_host
        module.DeviceMemoryError = DeviceMemoryError
        module.limit_bytes = module.release_bytes = lambda num_bytes: None
        module.release_unused = lambda: None
        module.StagedLayer = type(
            "StagedLayer", (StandinStagedLayer,), {"device_pages": DevicePages}
        )
        module.PageLock = StandinPageLock
        module.panels_bytes, module.staged_arrays = panels_bytes, staged_arrays
    return Backend(name=name, device=name, ops=module, reason="a stand-in")


def from_host(array: np.ndarray, *, out: DeviceArray | None = None) -> DeviceArray:
    assert not isinstance(array, DeviceArray)
    if out is None:
        return array.copy().view(DeviceArray)
    assert isinstance(out, DeviceArray)
    out[...] = array
    return out


def to_host(array: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    assert isinstance(array, DeviceArray)
    if out is None:
        return np.array(array)
    assert not isinstance(out, DeviceArray)
    out[...] = array
    return out
