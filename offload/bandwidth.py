"""How fast several threads together read memory: the ceiling of decoding speed on a CPU."""

import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slipstream.cpu_kernels.cache_folder import cache_folder
from slipstream.cpu_kernels.whole_file import write_whole
from slipstream.offload.machine import Machine, probe

log = logging.getLogger(__name__)

Chunk = npt.NDArray[np.int32]

SMALLEST_BUFFER_BYTES = 256 * 1024**2
LARGEST_RAM_SHARE = 1 / 8
# Large enough that taking the next chunk costs nothing beside reading it, small enough that a
# slower core does not keep the others waiting at the end of a pass.
LARGEST_CHUNK_BYTES = 8 * 1024**2
MEASURE_S = 0.2
SMALLEST_PASSES = 5


def measured_read_bandwidth(
    threads: int,
    *,
    machine: Machine | None = None,
    file: Path | None = None,
    again: bool = False,
) -> float:
    """Read bandwidth of `threads` threads together in GB/s, measured once and then remembered.

    `file` is where figures are remembered, by default `cache_file()`. A damaged or unwritable
    file costs a measurement (about 0.3 s) each time and is never an error. `again` measures even
    where a figure is remembered, and remembers the new one: the old one may come from a moment at
    which other programs used the memory too.
    """
    machine = machine or probe()
    threads = min(threads, machine.logical_cores)  # the planner refuses more; start no more here
    file = file or cache_file()
    key = f"{machine.cpu_name}, {machine.logical_cores} logical cores, {threads} threads"
    figures = _load(file)
    if again or key not in figures:
        figures[key] = time_reads(threads, buffer_bytes=_buffer_bytes(threads, machine))
        _save(file, figures)
    return figures[key]


def cache_file() -> Path:
    """Where measured figures are remembered: beside the compiled kernels."""
    return cache_folder() / "bandwidth.json"


def time_reads(threads: int, *, buffer_bytes: int = SMALLEST_BUFFER_BYTES) -> float:
    """Read a buffer with `threads` threads for some passes; the median pass in GB/s.

    The read is a maximum over int32, of NumPy's reductions the one that comes nearest to the
    memory's limit: on two cores of a Zen 5 EPYC 39 GB/s with one thread and 44 with two, against
    35 and 42 for the C library's memchr and 32 and 40 for a float32 maximum.
    """
    buffer = np.empty(buffer_bytes // 4, dtype=np.int32)
    chunk = max(1, min(LARGEST_CHUNK_BYTES // 4, buffer.size // (4 * threads)))
    chunks = [buffer[start : start + chunk] for start in range(0, buffer.size, chunk)]
    with ThreadPoolExecutor(threads) as pool:
        # Written first: a page never written is the same page of zeros everywhere.
        _pass(pool, threads, chunks, _write)
        seconds: list[float] = []
        end = time.perf_counter() + MEASURE_S
        while len(seconds) < SMALLEST_PASSES or time.perf_counter() < end:
            seconds.append(_pass(pool, threads, chunks, _read))
    return buffer.nbytes / float(np.median(seconds)) / 1e9


def _pass(
    pool: ThreadPoolExecutor,
    threads: int,
    chunks: list[Chunk],
    work: Callable[[Iterator[Chunk]], None],
) -> float:
    """Seconds in which the threads have done `work` on all chunks, each taking the next one."""
    queue = iter(chunks)
    start = time.perf_counter()
    for _ in pool.map(work, itertools.repeat(queue, threads)):
        pass
    return time.perf_counter() - start


def _write(queue: Iterator[Chunk]) -> None:
    for chunk in queue:
        chunk.fill(1)


def _read(queue: Iterator[Chunk]) -> None:
    for chunk in queue:
        np.maximum.reduce(chunk)


def _buffer_bytes(threads: int, machine: Machine) -> int:
    """Enough that no cache holds a useful part of it, unless RAM is too short for that."""
    wanted = max(
        SMALLEST_BUFFER_BYTES,
        4 * (machine.last_level_cache_bytes or 0),
        2 * LARGEST_CHUNK_BYTES * threads,
    )
    allowed = int(machine.ram_available_bytes * LARGEST_RAM_SHARE)
    return max(LARGEST_CHUNK_BYTES, min(wanted, allowed))


def _load(file: Path) -> dict[str, float]:
    """The figures remembered; empty when there are none or the file is damaged."""
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.info("measuring again, because %s can't be read: %s", file, error)
        return {}
    if not isinstance(figures, dict):
        log.info("measuring again, because %s does not hold figures", file)
        return {}
    return {
        key: value
        for key, value in figures.items()
        if isinstance(value, float) and math.isfinite(value) and value > 0
    }


def _save(file: Path, figures: dict[str, float]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(figures, indent=1))
    except OSError as error:
        log.info("the measured bandwidth is not remembered: %s", error)
