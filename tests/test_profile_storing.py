"""A profile is measured once for each hardware; bad files and folders cost a measurement only."""

import importlib.util
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from slipstream.offload.gpu_probe import Gpu
from slipstream.offload.machine import Machine, probe
from slipstream.offload.profile import gpu_access, hardware_key, profile_file, profiling
from slipstream.offload.profile.gpu_access import GpuAccess, NoGpuError, gpu_problem
from slipstream.offload.profile.machine_profile import MachineProfile
from slipstream.offload.profile.profile_file import load_profiles, read_profile, save_profiles
from slipstream.offload.profile.profiling import measured_profile, stored_profile
from support.fake_devices import FakeDevice, FakeLink

GB = 10**9
GPU = Gpu(
    vendor="NVIDIA",
    name="Small GPU",
    vram_total_bytes=4 * GB,
    compute_capability=(7, 5),
    driver_version="550.1",
)


@pytest.fixture
def machine() -> Machine:
    return replace(probe(), cpu_name="Fast CPU", logical_cores=8, gpus=())


@pytest.fixture
def with_gpu(machine: Machine) -> Machine:
    return replace(machine, gpus=(GPU,))


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Takes the place of the CPU; `timed` tells what was measured."""
    device = FakeDevice()
    monkeypatch.setattr(profiling, "open_cpu", lambda threads, machine: device)
    return device


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Takes the place of the GPU of any machine that has one."""
    device = FakeDevice(byte_s=1e-10)

    def open_gpu(machine: Machine) -> GpuAccess:
        if not machine.gpus:
            raise NoGpuError("no GPU was found")
        return GpuAccess(
            device=device,
            link=FakeLink(),
            check=device.check,
            tune=lambda quant_types, _: device.tuned.append(tuple(quant_types)),
            errors=(RuntimeError,),
        )

    monkeypatch.setattr(profiling, "open_gpu", open_gpu)
    return device


def num_measured(device: FakeDevice) -> int:
    return device.timed.count("64 keys, 1 rows")


class TestMeasuring:
    def test_once(self, tmp_path: Path, machine: Machine, cpu: FakeDevice) -> None:
        file = tmp_path / "new folder" / "profile.json"
        assert stored_profile(2, machine=machine, file=file) is None
        profile = measured_profile(2, machine=machine, file=file)
        assert measured_profile(2, machine=machine, file=file) == profile
        assert stored_profile(2, machine=machine, file=file) == profile
        assert num_measured(cpu) == 1
        assert [path.name for path in file.parent.iterdir()] == ["profile.json"]
        measured_profile(2, machine=machine, file=file, again=True)
        assert num_measured(cpu) == 2

    def test_without_a_gpu(self, tmp_path: Path, machine: Machine, cpu: FakeDevice) -> None:
        profile = measured_profile(2, machine=machine, file=tmp_path / "profile.json")
        assert (profile.gpu, profile.link) == (None, None)
        assert profile.gpu_problem == "no GPU was found"
        costs = profile.costs(ram_bytes=8 * GB, vram_bytes=4 * GB)
        assert (costs.cpu, costs.gpu, costs.vram_bytes) == (profile.cpu, None, 0)

    def test_with_a_gpu(
        self, tmp_path: Path, with_gpu: Machine, cpu: FakeDevice, gpu: FakeDevice
    ) -> None:
        file, told = tmp_path / "profile.json", []
        profile = measured_profile(
            2, machine=with_gpu, file=file, progress=lambda stage, *_: told.append(stage)
        )
        assert stored_profile(2, machine=with_gpu, file=file) == profile
        assert profile.gpu_problem is None
        assert profile.gpu is not None
        assert profile.gpu.products["Q4_K"].read_gb_per_s() == pytest.approx(10)
        costs = profile.costs(ram_bytes=8 * GB, vram_bytes=4 * GB)
        assert (costs.gpu, costs.link, costs.vram_bytes) == (profile.gpu, profile.link, 4 * GB)
        assert list(dict.fromkeys(told)) == [
            "measuring the CPU", "measuring the GPU", "measuring the link"
        ]  # fmt: skip
        assert gpu.tuned == []
        measured_profile(2, machine=with_gpu, quant_types=["Q4_K"], file=file, again=True)
        assert gpu.tuned == [("Q4_K",)]  # only where somebody waits for a measurement

    def test_a_gpu_that_computes_something_else_is_left_out(
        self, tmp_path: Path, with_gpu: Machine, cpu: FakeDevice, gpu: FakeDevice
    ) -> None:
        """Before it is measured, or later, when a model has other quantisations."""
        file, gpu.wrong = tmp_path / "profile.json", {"Q5_K"}
        first = measured_profile(2, machine=with_gpu, quant_types=["Q4_K"], file=file)
        assert first.gpu is not None
        for again in (False, False, True):
            both = measured_profile(
                2, machine=with_gpu, quant_types=["Q4_K", "Q5_K"], file=file, again=again
            )
            assert (both.gpu, both.link) == (None, None)
            assert both.gpu_problem == "a product with Q5_K is wrong"
        assert gpu.timed.count("Q5_K") == 0
        gpu.wrong.clear()  # as after an update
        again_used = measured_profile(2, machine=with_gpu, file=file, again=True)
        assert again_used.gpu is not None

    def test_a_quantisation_that_is_missing_is_added(
        self, tmp_path: Path, with_gpu: Machine, cpu: FakeDevice, gpu: FakeDevice
    ) -> None:
        file = tmp_path / "profile.json"
        first = measured_profile(2, machine=with_gpu, quant_types=["Q4_K"], file=file)
        for _ in range(2):
            both = measured_profile(2, machine=with_gpu, quant_types=["Q4_K", "Q5_K"], file=file)
        assert stored_profile(2, machine=with_gpu, file=file) == both
        assert both.gpu is not None
        assert set(both.cpu.products) == set(both.gpu.products) == {"Q4_K", "Q5_K"}
        assert both.measured_at == first.measured_at
        for device in (cpu, gpu):
            assert [each for each in device.timed if "keys" not in each] == ["Q4_K", "Q5_K"]

    def test_a_gpu_that_fails_is_told(
        self, tmp_path: Path, with_gpu: Machine, cpu: FakeDevice, gpu: FakeDevice
    ) -> None:
        gpu.fails = RuntimeError("out of memory")
        profile = measured_profile(2, machine=with_gpu, file=tmp_path / "profile.json")
        assert profile.gpu is None
        assert profile.gpu_problem == "the GPU could not be measured: out of memory"

    def test_a_gpu_that_fails_later_keeps_its_figures(
        self,
        tmp_path: Path,
        with_gpu: Machine,
        cpu: FakeDevice,
        gpu: FakeDevice,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        file = tmp_path / "profile.json"
        measured_profile(2, machine=with_gpu, quant_types=["Q4_K"], file=file)
        gpu.fails = RuntimeError("out of memory")
        with caplog.at_level(logging.WARNING):
            both = measured_profile(2, machine=with_gpu, quant_types=["Q5_K"], file=file)
        assert "the GPU's Q5_K are not measured" in caplog.text
        assert both.gpu is not None
        assert both.gpu.explain_stand_ins(both.cpu.products) == (
            "Q5_K was not measured: it counts as Q4_K, byte for byte.",
        )


class TestKey:
    @pytest.mark.parametrize(
        "change",
        [
            {"cpu_name": "Other CPU"},
            {"logical_cores": 16},
            {"gpus": ()},
            {"gpus": (replace(GPU, name="Large GPU"),)},
            {"gpus": (replace(GPU, vram_total_bytes=8 * GB),)},
            {"gpus": (replace(GPU, driver_version="551"),)},
            {"gpus": (GPU, GPU)},
        ],
    )
    def test_other_hardware_is_measured_again(
        self,
        tmp_path: Path,
        with_gpu: Machine,
        cpu: FakeDevice,
        gpu: FakeDevice,
        change: dict[str, object],
    ) -> None:
        file, other = tmp_path / "profile.json", replace(with_gpu, **change)
        measured_profile(2, machine=with_gpu, file=file)
        assert stored_profile(2, machine=other, file=file) is None
        for _ in range(2):
            measured_profile(2, machine=other, file=file)
            measured_profile(2, machine=with_gpu, file=file)
        assert num_measured(cpu) == 2

    def test_threads_and_kernels_count_and_free_memory_does_not(
        self,
        tmp_path: Path,
        with_gpu: Machine,
        cpu: FakeDevice,
        gpu: FakeDevice,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        file = tmp_path / "profile.json"
        measured_profile(2, machine=with_gpu, file=file)
        busy = replace(with_gpu, ram_available_bytes=GB, gpus=(replace(GPU, vram_free_bytes=1),))
        assert stored_profile(2, machine=busy, file=file) is not None
        assert stored_profile(3, machine=with_gpu, file=file) is None
        monkeypatch.setattr(hardware_key, "kernels_version", lambda: "later")
        assert stored_profile(2, machine=with_gpu, file=file) is None

    def test_packages_of_the_gpu_count(
        self, with_gpu: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = set()
        for version in (None, "2.11.0", "2.13.0"):
            monkeypatch.setattr(hardware_key, "_version_of", lambda name, found=version: found)
            keys.add(hardware_key.hardware_key(with_gpu, 2))
        assert len(keys) == 3

    def test_the_version_of_the_kernels_is_that_of_their_text(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = hardware_key.kernels_version()
        read_bytes = Path.read_bytes

        def edited(path: Path) -> bytes:
            return read_bytes(path) + (b"#" if path.name == "word_planes.py" else b"")

        monkeypatch.setattr(Path, "read_bytes", edited)
        assert hardware_key.kernels_version.__wrapped__() != now


class TestFile:
    DAMAGES = (b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_file_is_measured_again_and_replaced(
        self, tmp_path: Path, machine: Machine, cpu: FakeDevice, damage: bytes
    ) -> None:
        file = tmp_path / "profile.json"
        file.write_bytes(damage)
        profile = measured_profile(2, machine=machine, file=file)
        assert list(load_profiles(file).values()) == [profile]

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ((), None),
            ((), []),
            (("cpu",), None),
            (("cpu", "products"), {}),
            (("cpu", "products"), {"Q9": {}}),
            (("cpu", "products", "Q4_K", "seconds_per_byte", "values"), [1.0, 0.5, 0.1]),
            (("cpu", "products", "Q4_K", "seconds_per_byte", "values"), [1.0]),
            (("cpu", "products", "Q4_K", "seconds_per_byte", "points"), [3, 2, 1]),
            (("cpu", "products", "Q4_K", "bytes_per_weight"), -1),
            (("cpu", "products", "Q4_K", "bytes_per_weight"), 10**400),
            (("cpu", "attention", "rows"), "many"),
            (("cpu", "op_overhead_s"), None),
            (("gpu",), None),
            (("link", "copies", "to_gpu"), {}),
            (("gpu_problem",), "there is one after all"),
        ],
    )
    def test_a_damaged_profile_is_left_out_and_others_stay(
        self,
        tmp_path: Path,
        with_gpu: Machine,
        cpu: FakeDevice,
        gpu: FakeDevice,
        path: tuple[str, ...],
        value: object,
    ) -> None:
        file = tmp_path / "profile.json"
        measured_profile(1, machine=with_gpu, file=file)
        measured_profile(2, machine=with_gpu, file=file)
        kept = json.loads(file.read_text())
        *parents, last = (hardware_key.hardware_key(with_gpu, 2), *path)
        within = kept
        for name in parents:
            within = within[name]
        within[last] = value
        file.write_text(json.dumps(kept))
        assert stored_profile(2, machine=with_gpu, file=file) is None
        assert stored_profile(1, machine=with_gpu, file=file) is not None
        measured_profile(2, machine=with_gpu, file=file)
        assert len(load_profiles(file)) == 2

    def test_an_unwritable_folder_costs_a_measurement_and_no_more(
        self, tmp_path: Path, machine: Machine, cpu: FakeDevice
    ) -> None:
        (tmp_path / "file").write_text("not a folder")
        for _ in range(2):
            measured_profile(2, machine=machine, file=tmp_path / "file" / "profile.json")
        assert num_measured(cpu) == 2

    def test_it_lies_beside_the_bandwidths(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLIPSTREAM_CACHE", str(tmp_path))
        assert profile_file.default_file() == tmp_path / "profile.json"

    def test_what_is_written_is_what_is_read(
        self, tmp_path: Path, with_gpu: Machine, cpu: FakeDevice, gpu: FakeDevice
    ) -> None:
        profile = measured_profile(2, machine=with_gpu, file=tmp_path / "profile.json")
        assert read_profile(json.loads(json.dumps(asdict(profile)))) == profile

    def test_only_the_latest_are_kept(
        self, tmp_path: Path, machine: Machine, cpu: FakeDevice
    ) -> None:
        file = tmp_path / "profile.json"
        profile = measured_profile(2, machine=machine, file=file)
        many = {
            f"key {day}": replace(profile, measured_at=f"2026-01-{day}") for day in range(10, 31)
        }
        save_profiles(file, many)
        assert list(load_profiles(file)) == [f"key {day}" for day in range(15, 31)]


class TestGpuProblem:
    def test_there_is_none(self, machine: Machine) -> None:
        assert gpu_problem(machine) == "no GPU was found"

    def test_no_driver_describes_it(self, machine: Machine) -> None:
        gpus = (
            Gpu(vendor="AMD", name="AMD GPU", note="not used by this version"),
            Gpu(vendor="NVIDIA", name="NVIDIA GPU", note="its driver does not answer"),
        )
        assert gpu_problem(replace(machine, gpus=gpus)) == (
            "no NVIDIA driver describes a GPU (AMD GPU: not used by this version, NVIDIA GPU: its "
            "driver does not answer)"
        )

    def test_torch_is_not_installed(
        self, with_gpu: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gpu_access, "GPU_PACKAGES", ("numpy", "no_such_package"))
        assert gpu_problem(with_gpu) == ("no_such_package can't be found; install slipstream[gpu]")

    def test_kernels_that_can_not_run(self, with_gpu: Machine) -> None:
        for package in ("torch", "triton"):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            assert gpu_problem(with_gpu) is None
            return
        problem = gpu_problem(with_gpu)
        assert problem is not None
        assert "CUDA" in problem or "TRITON_INTERPRET" in problem
        with pytest.raises(NoGpuError, match=r"CUDA|TRITON_INTERPRET"):
            gpu_access.open_gpu(with_gpu)


def test_a_gpu_and_a_reason_why_there_is_none_contradict_each_other(
    tmp_path: Path, machine: Machine, cpu: FakeDevice
) -> None:
    profile = measured_profile(2, machine=machine, file=tmp_path / "profile.json")
    with pytest.raises(ValueError, match="or a reason why it has none"):
        replace(profile, gpu=profile.cpu)
    with pytest.raises(ValueError, match="or a reason why it has none"):
        replace(profile, gpu_problem=None)
    assert isinstance(profile, MachineProfile)
