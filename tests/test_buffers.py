"""Memory for panels."""

import gc
import itertools
import weakref

import numpy as np

from slipstream.cpu_kernels.compiled.buffers import Arena, aligned_empty


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_parts_are_aligned_and_apart() -> None:
    arena = Arena()
    parts = [arena.take(size) for size in (1, 64, 65, 100_000, 3)]
    for value, part in enumerate(parts):
        part[:] = value
    for value, part in enumerate(parts):
        assert address(part) % 64 == 0
        assert (part == value).all()


def test_a_large_one_stands_alone_and_a_full_chunk_is_followed() -> None:
    arena = Arena()
    small = arena.take(1000)
    large = arena.take(20 << 20)
    assert large.size == 20 << 20
    assert address(large) % 64 == 0
    assert abs(address(arena.take(1000)) - address(small)) == 1024
    parts = [arena.take(15 << 20) for _ in range(6)]
    spans = sorted((address(part), address(part) + part.size) for part in parts)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_chunk_goes_with_its_last_part() -> None:
    arena = Arena()
    parts = [arena.take(1000), arena.take(1000)]
    chunk = weakref.ref(parts[0].base)
    parts.pop()
    gc.collect()
    assert chunk() is not None
    parts.pop()
    gc.collect()
    assert chunk() is None
    assert arena.take(10).size == 10


def test_aligned_empty() -> None:
    for size in (1, 64, 1000):
        array = aligned_empty(size)
        assert (array.size, address(array) % 64) == (size, 0)
