"""`slipstream doctor --profile`, with devices whose times are known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from slipstream.apps.cli import diagnosis
from slipstream.apps.cli.doctor_command import profile_row
from slipstream.apps.cli.profile_table import format_seconds
from slipstream.offload import bandwidth
from slipstream.offload.gpu_probe import Gpu
from slipstream.offload.machine import probe
from slipstream.offload.profile import profiling
from slipstream.offload.profile.gpu_access import GpuAccess
from slipstream.offload.profile.profile_file import read_profile
from slipstream.runtime.errors import OptionError
from support.command_line import call
from support.fake_devices import TINY_SIZES, FakeDevice, FakeLink

SIZES = replace(TINY_SIZES, product_rows=(1, 64, 512))


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Figures are kept in an empty folder, and measuring takes no time; there is no GPU."""
    monkeypatch.setattr(bandwidth, "cache_file", lambda: tmp_path / "bandwidth.json")
    monkeypatch.setattr(bandwidth, "time_reads", lambda *_, **__: 12.5)
    monkeypatch.setattr(profiling, "open_cpu", lambda *_: FakeDevice(sizes=SIZES))
    machine = replace(probe(), gpus=())
    monkeypatch.setattr(diagnosis, "probe", lambda: machine)


@pytest.fixture
def profiled_gpu(profiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a GPU."""
    gpu = Gpu(vendor="NVIDIA", name="Small GPU", vram_total_bytes=4 * 10**9)
    machine = replace(probe(), gpus=(gpu,))
    monkeypatch.setattr(diagnosis, "probe", lambda: machine)
    access = GpuAccess(
        device=FakeDevice(sizes=SIZES, byte_s=1e-10, op_s=4.5e-5),
        link=FakeLink(),
        check=lambda quant_types: None,
        tune=lambda quant_types, progress: None,
        errors=(RuntimeError,),
    )
    monkeypatch.setattr(profiling, "open_gpu", lambda machine: access)


def row_of(out: str, name: str) -> str:
    (row,) = (line for line in out.splitlines() if line.startswith(f"{name}  "))
    return " ".join(row.removeprefix(name).split())


@pytest.mark.usefixtures("profiled")
def test_a_profile_is_measured_shown_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert row_of(call(capsys, "doctor").out, "profile") == (
        "none kept; `slipstream doctor --profile` measures one (CPU only: no GPU was found)"
    )
    measured = call(capsys, "doctor", "--profile").out
    again = call(capsys, "doctor").out
    for out in (measured, again):
        row = row_of(out, "profile")
        assert row.startswith("measured 20")
        assert row.endswith(" threads (CPU only: no GPU was found)")
    table = measured.partition("\n\n")[2]
    assert row_of(table, "Q4_K") == "1.0 GB/s 7.11 G"
    assert row_of(table, "F16") == "1.0 GB/s 2 G"
    assert row_of(table, "1 row") == "64 us 256 us"
    assert row_of(table, "16 rows") == "1.02 ms 4.1 ms"
    assert table.endswith("takes 10 us whatever its size\n\nGPU: not measured (no GPU was found)\n")
    assert "\n\n" not in again


@pytest.mark.usefixtures("profiled_gpu")
def test_a_gpu_and_its_link_are_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "doctor", "--profile").out
    assert "CPU only: " not in out
    table = out.partition("GPU: product with")[2]
    assert row_of(table, "Q8_0") == "10.0 GB/s 37.6 G"
    assert "GPU: each op takes 45 us whatever its size" in table
    assert "link" in table
    assert row_of(table, "to the GPU, pinned") == "10.4 us 10.0 GB/s"
    assert row_of(table, "to the host, pageable") == "62.5 us 1.7 GB/s"


@pytest.mark.usefixtures("profiled_gpu")
def test_json_has_all_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = json.loads(call(capsys, "doctor", "--json").out)["profile"]
    assert before["figures"] is None
    assert before["file"] == str(tmp_path / "profile.json")
    measured = json.loads(call(capsys, "doctor", "--profile", "--json").out)["profile"]
    after = json.loads(call(capsys, "doctor", "--json").out)["profile"]
    assert after == measured
    assert (after["problem"], after["gpu_problem"]) == (None, None)
    profile = read_profile(after["figures"])
    assert profile.gpu is not None
    assert profile.gpu.products["Q8_0"].read_gb_per_s() == pytest.approx(10)


@pytest.mark.usefixtures("profiled")
def test_kernels_that_can_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OptionError("no kernels here")

    monkeypatch.setattr(diagnosis, "load_backend", refuse)
    for measure in (False, True):
        found = diagnosis.find_profile(measure=measure)
        assert (found.profile, found.problem) == (None, "no kernels here")
    assert profile_row({"problem": "no kernels here", "gpu_problem": None, "figures": None}) == (
        "profile",
        "none, and none can be measured: no kernels here",
    )


def test_times_to_three_digits() -> None:
    seconds = (1e-9, 1.234e-6, 999.4e-6, 999.6e-6, 0.0123, 0.9996, 12.34)
    assert [format_seconds(each) for each in seconds] == [
        "0.001 us", "1.23 us", "999 us", "1 ms", "12.3 ms", "1 s", "12.3 s"
    ]  # fmt: skip
