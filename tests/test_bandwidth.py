"""The bandwidth measurement reads what it claims to; its memory survives bad files and folders."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slipstream.offload import bandwidth
from slipstream.offload.bandwidth import measured_read_bandwidth, time_reads
from slipstream.offload.machine import Machine, probe

MIB = 1024**2


@pytest.fixture(scope="module")
def machine() -> Machine:
    return dataclasses.replace(
        probe(), cpu_name="Fast CPU", logical_cores=8, ram_available_bytes=64_000 * MIB
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Replaces the measurement by 12.5 GB/s; the list gets (threads, buffer bytes) of each call."""
    calls: list[tuple[int, int]] = []

    def fake(threads: int, *, buffer_bytes: int) -> float:
        calls.append((threads, buffer_bytes))
        return 12.5

    monkeypatch.setattr(bandwidth, "time_reads", fake)
    return calls


@pytest.mark.parametrize("threads", [1, 3, 64])
def test_every_pass_reads_the_whole_buffer_once(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    sizes: list[int] = []

    def read(queue: Iterator[np.ndarray]) -> None:
        for chunk in queue:
            assert (chunk == 1).all()  # written before, so that it is memory of its own
            sizes.append(chunk.nbytes)

    monkeypatch.setattr(bandwidth, "_read", read)
    monkeypatch.setattr(bandwidth, "MEASURE_S", 0.0)
    assert math.isfinite(time_reads(threads, buffer_bytes=4 * MIB))
    assert sum(sizes) == bandwidth.SMALLEST_PASSES * 4 * MIB


def test_a_real_measurement_is_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "MEASURE_S", 0.0)
    assert 0.05 < time_reads(2, buffer_bytes=16 * MIB) < 100_000


def test_a_figure_is_measured_once(
    tmp_path: Path, machine: Machine, measured: list[tuple[int, int]]
) -> None:
    file = tmp_path / "new folder" / "bandwidth.json"
    for _ in range(2):
        assert measured_read_bandwidth(2, machine=machine, file=file) == 12.5
    assert len(measured) == 1
    assert [path.name for path in file.parent.iterdir()] == ["bandwidth.json"]
    measured_read_bandwidth(2, machine=machine, file=file, again=True)
    assert len(measured) == 2


def test_each_thread_count_and_processor_has_its_own_figure(
    tmp_path: Path, machine: Machine, measured: list[tuple[int, int]]
) -> None:
    file = tmp_path / "bandwidth.json"
    other = dataclasses.replace(machine, cpu_name="Other CPU")
    for _ in range(2):
        measured_read_bandwidth(1, machine=machine, file=file)
        measured_read_bandwidth(2, machine=machine, file=file)
        measured_read_bandwidth(2, machine=other, file=file)
    assert len(measured) == 3


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"KEY": null}', b'{"KEY": -1}',
               b'{"KEY": Infinity}', b'{"KEY": "12"}', b'{"KEY": 1' + b"0" * 400 + b"}"]
)  # fmt: skip
def test_a_damaged_file_is_measured_again_and_replaced(
    tmp_path: Path, machine: Machine, measured: list[tuple[int, int]], damage: bytes
) -> None:
    file = tmp_path / "bandwidth.json"
    measured_read_bandwidth(2, machine=machine, file=file)
    (key,) = json.loads(file.read_text())
    file.write_bytes(damage.replace(b"KEY", key.encode()))
    assert measured_read_bandwidth(2, machine=machine, file=file) == 12.5
    assert len(measured) == 2
    assert json.loads(file.read_text()) == {key: 12.5}


def test_an_unwritable_folder_costs_a_measurement_and_no_more(
    tmp_path: Path, machine: Machine, measured: list[tuple[int, int]]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    for _ in range(2):
        file = tmp_path / "file" / "bandwidth.json"
        assert measured_read_bandwidth(2, machine=machine, file=file) == 12.5
    assert len(measured) == 2


def test_a_failed_replacement_leaves_no_file_behind(
    tmp_path: Path, machine: Machine, measured: list[tuple[int, int]]
) -> None:
    (tmp_path / "bandwidth.json").mkdir()
    assert measured_read_bandwidth(2, machine=machine, file=tmp_path / "bandwidth.json") == 12.5
    assert [path.name for path in tmp_path.iterdir()] == ["bandwidth.json"]


@pytest.mark.parametrize(
    ("threads", "cache_mib", "ram_mib", "buffer_mib"),
    [
        (2, 32, 64_000, 256),
        (2, 384, 64_000, 1536),
        (32, 32, 64_000, 512),
        (2, None, 64_000, 256),
        (2, 384, 1600, 200),
        (2, 384, 0, 8),
    ],
)
def test_the_buffer_outgrows_the_caches_but_not_the_ram(
    tmp_path: Path, machine: Machine, measured: list[tuple[int, int]],
    threads: int, cache_mib: int | None, ram_mib: int, buffer_mib: int,
) -> None:  # fmt: skip
    machine = dataclasses.replace(
        machine,
        logical_cores=max(threads, machine.logical_cores),
        last_level_cache_bytes=None if cache_mib is None else cache_mib * MIB,
        ram_available_bytes=ram_mib * MIB,
    )
    measured_read_bandwidth(threads, machine=machine, file=tmp_path / "bandwidth.json")
    assert measured == [(threads, buffer_mib * MIB)]
