"""The probe of the machine, on trees of files as Linux would show them, and on this machine."""

import ctypes
import dataclasses
import json
from pathlib import Path

import psutil
import pytest

from slipstream.offload import cpu_probe, gpu_probe
from slipstream.offload.control_group import cpu_quota, memory_limit
from slipstream.offload.cpu_probe import instruction_sets, last_level_cache_bytes, read_cores
from slipstream.offload.gpu_probe import Gpu, find_gpus
from slipstream.offload.linux_files import parse_cpu_list
from slipstream.offload.machine import Machine, default_threads, explain_default_threads, probe
from slipstream.offload.memory import read_ram

GIB = 1024**3
CPUS = "sys/devices/system/cpu"
MEMINFO = f"MemTotal:  {16 * 1024**2} kB\nMemFree: 5 kB\nMemAvailable:   {12 * 1024**2} kB\n"


@pytest.fixture(autouse=True)
def _no_nvidia_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_probe, "load_nvml", lambda: None)


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def cpu_files(siblings: list[str], **per_cpu: list[int]) -> dict[str, str]:
    """Files of a machine whose CPU i shares its core with `siblings[i]`."""
    files = {f"{CPUS}/online": f"0-{len(siblings) - 1}\n"}
    for cpu, text in enumerate(siblings):
        files[f"{CPUS}/cpu{cpu}/topology/thread_siblings_list"] = text + "\n"
    for name, values in per_cpu.items():
        for cpu, value in enumerate(values):
            files[f"{CPUS}/cpu{cpu}/{name.replace('__', '/')}"] = f"{value}\n"
    return files


# Two performance cores with two threads each, and four efficiency cores.
HYBRID = cpu_files(["0-1", "0-1", "2-3", "2-3", "4", "5", "6", "7"]) | {
    "sys/devices/cpu_core/cpus": "0-3\n",
    "sys/devices/cpu_atom/cpus": "4-7\n",
}


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", {0}),
        ("0-3,8", {0, 1, 2, 3, 8}),
        ("", set()),
        ("3-1", set()),
        ("0-x", set()),
        ("0-9999999999", set()),
    ],
)
def test_a_kernel_cpu_list_is_read_or_refused(text: str, cpus: set[int]) -> None:
    assert parse_cpu_list(text) == cpus


class TestCores:
    def test_hyper_threads_share_a_physical_core(self, tmp_path: Path) -> None:
        cores = read_cores(write_tree(tmp_path, cpu_files(["0,2", "1,3", "0,2", "1,3"])))
        assert (cores.physical, cores.logical) == (2, 4)
        assert (cores.performance, cores.efficiency) == (None, None)

    def test_intel_hybrid(self, tmp_path: Path) -> None:
        cores = read_cores(write_tree(tmp_path, HYBRID))
        assert (cores.physical, cores.logical) == (6, 8)
        assert (cores.performance, cores.efficiency) == (2, 4)

    @pytest.mark.parametrize(
        ("name", "speeds", "performance"),
        [
            ("cpu_capacity", [250, 250, 870, 1024], 2),
            ("cpufreq__cpuinfo_max_freq", [5_100_000, 5_100_000, 3_300_000, 3_300_000], 2),
            ("cpufreq__cpuinfo_max_freq", [5_100_000, 5_400_000, 5_200_000, 5_100_000], 4),
            ("cpu_capacity", [1024, 1024, 1024, 1024], 4),
        ],
    )
    def test_speeds_tell_the_kinds_of_core_apart(
        self, tmp_path: Path, name: str, speeds: list[int], performance: int
    ) -> None:
        cores = read_cores(write_tree(tmp_path, cpu_files(list("0123"), **{name: speeds})))
        assert (cores.performance, cores.efficiency) == (performance, 4 - performance)

    def test_equal_capacities_do_not_hide_unequal_frequencies(self, tmp_path: Path) -> None:
        files = cpu_files(
            ["0", "1"], cpu_capacity=[1024, 1024], cpufreq__cpuinfo_max_freq=[5_000_000, 3_000_000]
        )
        assert read_cores(write_tree(tmp_path, files)).performance == 1

    def test_the_affinity_mask_limits_usable_cores(self, tmp_path: Path) -> None:
        status = {"proc/self/status": "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t3-5\n"}
        cores = read_cores(write_tree(tmp_path, HYBRID | status))
        assert (cores.usable_logical, cores.usable_physical, cores.usable_performance) == (3, 3, 1)

    def test_macos(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        values = {"hw.perflevel0.physicalcpu": "8", "hw.perflevel1.physicalcpu": "4"}
        monkeypatch.setattr(cpu_probe, "_sysctl", values.get)
        cores = read_cores(tmp_path)
        assert (cores.performance, cores.efficiency, cores.usable_performance) == (8, 4, 8)

    def test_where_nothing_is_listed_the_running_system_is_asked(self, tmp_path: Path) -> None:
        cores = read_cores(tmp_path)
        assert cores.logical == psutil.cpu_count()
        assert (cores.performance, cores.efficiency) == (None, None)

    def test_last_level_cache_adds_up_its_instances(self, tmp_path: Path) -> None:
        files = {}
        for cpu in range(4):
            for index, (level, size, sharers) in enumerate(
                [(1, "48K", str(cpu)), (3, "32768K", "0-1" if cpu < 2 else "2-3")]
            ):
                folder = f"{CPUS}/cpu{cpu}/cache/index{index}"
                files |= {f"{folder}/level": f"{level}\n", f"{folder}/size": f"{size}\n"}
                files[f"{folder}/shared_cpu_list"] = sharers + "\n"
        assert last_level_cache_bytes(write_tree(tmp_path, files)) == 64 * 1024**2


def test_instruction_sets_have_the_names_users_know() -> None:
    features = {"avx2", "avxvnni", "amx-int8", "sse2"}
    assert instruction_sets(features) == ("avx2", "avx_vnni", "amx_int8")


MOUNT_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
GROUP_V2 = {"proc/self/cgroup": "0::/user/job\n", "proc/self/mountinfo": MOUNT_V2}


class TestControlGroups:
    def test_v2_takes_the_tightest_group_on_the_way_up(self, tmp_path: Path) -> None:
        root = write_tree(
            tmp_path,
            GROUP_V2
            | {
                "proc/meminfo": MEMINFO,
                "sys/fs/cgroup/user/job/cpu.max": "max 100000\n",
                "sys/fs/cgroup/user/cpu.max": "250000 100000\n",
                "sys/fs/cgroup/user/job/memory.max": f"{8 * GIB}\n",
                "sys/fs/cgroup/user/job/memory.current": f"{7 * GIB}\n",
                "sys/fs/cgroup/user/job/memory.stat": f"anon 5\nactive_file {2 * GIB}\n"
                f"inactive_file {GIB}\nshmem 7\n",
                "sys/fs/cgroup/user/memory.max": "max\n",
                "sys/fs/cgroup/user/memory.high": f"{6 * GIB}\n",
                "sys/fs/cgroup/user/memory.current": f"{GIB}\n",
            },
        )
        assert cpu_quota(root) == 2.5
        ram = read_ram(root)
        assert ram.total_bytes == 6 * GIB
        assert ram.available_bytes == 4 * GIB

    def test_v1(self, tmp_path: Path) -> None:
        group = "sys/fs/cgroup/{}/docker/abc/"
        root = write_tree(
            tmp_path,
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n",
                "proc/self/mountinfo": "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup x rw,cpu\n"
                "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n",
                group.format("memory") + "memory.limit_in_bytes": f"{4 * GIB}",
                group.format("memory") + "memory.usage_in_bytes": f"{3 * GIB}",
                group.format("memory") + "memory.stat": "inactive_file 1\n"
                f"total_inactive_file {GIB}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                group.format("cpu") + "cpu.cfs_quota_us": "-1\n",
                group.format("cpu") + "cpu.cfs_period_us": "100000\n",
            },
        )
        assert cpu_quota(root) is None
        ram = read_ram(root)
        assert (ram.total_bytes, ram.available_bytes) == (4 * GIB, 2 * GIB)

    def test_a_container_sees_its_own_group_as_the_mount(self, tmp_path: Path) -> None:
        mount = MOUNT_V2.replace("0:26 / ", "0:26 /machine/c1 ")
        for name, group in (("inside", "/machine/c1"), ("namespace", "/../../other")):
            root = write_tree(
                tmp_path / name,
                {
                    "proc/self/cgroup": f"0::{group}\n",
                    "proc/self/mountinfo": mount,
                    "sys/fs/cgroup/cpu.max": "50000 100000\n",
                },
            )
            assert cpu_quota(root) == 0.5

    @pytest.mark.parametrize("text", ["", "max", "many 100000", "100000 0", "-5 100000"])
    def test_an_unreadable_quota_is_no_quota(self, tmp_path: Path, text: str) -> None:
        root = write_tree(tmp_path, GROUP_V2 | {"sys/fs/cgroup/user/job/cpu.max": text})
        assert cpu_quota(root) is None

    def test_without_groups_there_is_no_limit(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {"proc/self/mountinfo": "nonsense - \n", "proc/meminfo": MEMINFO})
        assert memory_limit(tmp_path) is None
        ram = read_ram(tmp_path)
        assert (ram.total_bytes, ram.available_bytes) == (16 * GIB, 12 * GIB)


class TestAddressSpace:
    """What `ulimit -v` leaves."""

    LIMITS = "Limit  Soft Limit  Hard Limit  Units\nMax address space     {}    unlimited   bytes\n"

    @pytest.mark.parametrize(
        ("limit", "total", "available"),
        [
            ("unlimited", 16 * GIB, 12 * GIB),
            (str(14 * GIB), 14 * GIB, 11 * GIB),
            (str(4 * GIB), 4 * GIB, GIB),
            (str(2 * GIB), 2 * GIB, 0),
        ],
    )
    def test_it_bounds_the_memory(
        self, tmp_path: Path, limit: str, total: int, available: int
    ) -> None:
        files = {
            "proc/meminfo": MEMINFO,
            "proc/self/limits": self.LIMITS.format(limit),
            "proc/self/status": f"Name:\tx\nVmSize:\t {3 * 1024**2} kB\n",
        }
        ram = read_ram(write_tree(tmp_path, files))
        assert (ram.total_bytes, ram.available_bytes) == (total, available)


class FakeNvml:
    """NVML with two GPUs, the second of which tells only its name."""

    def __init__(self, init_status: int = 0) -> None:
        self.init_status = init_status
        self.shut_down = False

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self.init_status

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.shut_down = True
        return 0

    def nvmlSystemGetDriverVersion(self, buffer, length) -> int:  # noqa: N802
        buffer.value = b"570.86"
        return 0

    def nvmlDeviceGetCount_v2(self, count) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, gpu_id: int, handle) -> int:  # noqa: N802
        handle._obj.value = 100 + gpu_id
        return 0

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, buffer, length: int) -> int:  # noqa: N802
        buffer.value = b"NVIDIA GeForce RTX 3050" if handle.value == 100 else b"NVIDIA Thor"
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, memory) -> int:  # noqa: N802
        memory._obj.total, memory._obj.free = 4 * GIB, 3 * GIB
        return 0 if handle.value == 100 else 3

    def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor) -> int:  # noqa: N802
        major._obj.value, minor._obj.value = 8, 6
        return 0 if handle.value == 100 else 3


class TestGpus:
    def test_nvml_describes_nvidia_gpus(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nvml = FakeNvml()
        monkeypatch.setattr(gpu_probe, "load_nvml", lambda: nvml)
        root = write_tree(
            tmp_path,
            {
                "sys/class/drm/card0/device/vendor": "0x8086\n",
                "sys/class/drm/card1/device/vendor": "0x10de\n",
                "sys/class/drm/card1-HDMI-A-1/device/vendor": "0x10de\n",
            },
        )
        first, second, third = find_gpus(root)
        assert first == Gpu(
            vendor="NVIDIA",
            name="NVIDIA GeForce RTX 3050",
            vram_total_bytes=4 * GIB,
            vram_free_bytes=3 * GIB,
            compute_capability=(8, 6),
            driver_version="570.86",
        )
        assert second == Gpu(vendor="NVIDIA", name="NVIDIA Thor", driver_version="570.86")
        assert (third.vendor, third.note) == ("Intel", "not used by this version")
        assert nvml.shut_down

    def test_a_driver_that_does_not_answer_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gpu_probe, "load_nvml", lambda: FakeNvml(init_status=18))
        root = write_tree(tmp_path, {"sys/class/drm/card0/device/vendor": "0x10de\n"})
        assert find_gpus(root) == (
            Gpu(vendor="NVIDIA", name="NVIDIA GPU", note="its driver does not answer"),
        )

    def test_other_cards_are_no_gpus(self, tmp_path: Path) -> None:
        assert find_gpus(tmp_path) == ()
        root = write_tree(tmp_path, {"sys/class/drm/card0/device/vendor": "0x1af4\n"})
        assert find_gpus(root) == ()


class TestProbe:
    def test_a_whole_tree(self, tmp_path: Path) -> None:
        cpuinfo = {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast CPU\nmodel name\t: Other\n"}
        machine = probe(write_tree(tmp_path, HYBRID | cpuinfo | {"proc/meminfo": MEMINFO}))
        assert machine.cpu_name == "Fast CPU"
        assert (machine.physical_cores, machine.efficiency_cores) == (6, 4)
        assert machine.ram_available_bytes == 12 * GIB
        assert machine.cpu_quota is None
        assert machine.read_gb_per_s is None
        assert machine.gpus == ()

    def test_a_board_without_a_processor_name(self, tmp_path: Path) -> None:
        model = {"sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B\0"}
        assert probe(write_tree(tmp_path, model)).cpu_name == "Raspberry Pi 5 Model B"

    def test_an_empty_tree_is_no_error(self, tmp_path: Path) -> None:
        machine = probe(tmp_path)
        assert machine.cpu_name
        assert machine.last_level_cache_bytes is None

    def test_a_tree_of_nonsense_is_no_error(self, tmp_path: Path) -> None:
        names = [*HYBRID, *GROUP_V2, "proc/meminfo", "proc/cpuinfo", "proc/self/status"]
        machine = probe(write_tree(tmp_path, dict.fromkeys(names, "\x00,%:- - max\n:::")))
        assert machine.physical_cores >= 1
        assert machine.ram_total_bytes > 0

    def test_this_machine(self) -> None:
        machine = probe()
        assert machine.cpu_name
        assert 1 <= machine.usable_physical_cores <= machine.physical_cores
        assert machine.physical_cores <= machine.logical_cores
        assert 0 < machine.ram_available_bytes <= machine.ram_total_bytes
        json.dumps(dataclasses.asdict(machine))


class TestDefaultThreads:
    @pytest.fixture
    def hybrid(self, tmp_path: Path) -> Machine:
        return probe(write_tree(tmp_path, HYBRID))

    def test_performance_cores_only(self, hybrid: Machine) -> None:
        assert explain_default_threads(hybrid) == (2, "one for each performance core")

    def test_efficiency_cores_where_nothing_else_is_allowed(self, hybrid: Machine) -> None:
        machine = dataclasses.replace(
            hybrid, usable_logical_cores=3, usable_physical_cores=3, usable_performance_cores=0
        )
        threads, why = explain_default_threads(machine)
        assert threads == 3
        assert "3 of 6" in why

    def test_one_for_each_physical_core_of_one_kind(self, tmp_path: Path) -> None:
        machine = probe(write_tree(tmp_path, cpu_files(["0,2", "1,3", "0,2", "1,3"])))
        assert explain_default_threads(machine) == (2, "one for each physical core")

    @pytest.mark.parametrize(("quota", "threads"), [(0.5, 1), (1.9, 1), (2.0, 2), (7.5, 2)])
    def test_a_cpu_quota_is_rounded_down(self, hybrid: Machine, quota: float, threads: int) -> None:
        machine = dataclasses.replace(hybrid, cpu_quota=quota)
        assert default_threads(machine) == threads
        assert (f"{quota:g} cores" in explain_default_threads(machine)[1]) == (quota < 2)
