"""What is measured, from devices whose times are known, and once from this CPU itself."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.offload.machine import probe
from slipstream.offload.profile import measuring
from slipstream.offload.profile.cpu_workloads import CpuWorkloads, cpu_sizes
from slipstream.offload.profile.measuring import (
    COPY_BYTES,
    measure_device,
    measure_link,
    measure_products,
    median_seconds,
)
from slipstream.offload.profile.workloads import (
    Sizes,
    Workload,
    one_sequence,
    ops_of_a_run,
    pages_of,
    random_file_rows,
    sequences_of,
)
from support.fake_devices import TINY_SIZES, FakeDevice, FakeLink

MIB = 1024**2


class ScriptedTimer:
    """Says the given seconds, one after another."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = iter(seconds)
        self.num_runs = 0

    def seconds(self, run: Callable[[], object]) -> float:
        self.num_runs += 1
        return next(self._seconds)


WORKLOAD = Workload(run=lambda: None, count=2)


class TestMedian:
    def test_runs_fill_their_time(self) -> None:
        timer = ScriptedTimer(0.06, *[0.015] * 20)
        assert median_seconds(timer, WORKLOAD) == 0.0075
        assert timer.num_runs == 4

    def test_two_hundred_short_runs_at_most(self) -> None:
        timer = ScriptedTimer(*[1e-6] * 1000)
        assert median_seconds(timer, WORKLOAD) == 5e-7
        assert timer.num_runs == 200

    def test_three_runs_at_least_so_that_a_slow_first_one_does_not_matter(self) -> None:
        timer = ScriptedTimer(0.4, 0.2, 0.1, 9.0)
        assert median_seconds(timer, WORKLOAD) == 0.1
        assert timer.num_runs == 3

    def test_one_long_run_is_enough(self) -> None:
        timer = ScriptedTimer(0.6, 9.0)
        assert median_seconds(timer, WORKLOAD) == 0.3
        assert timer.num_runs == 1


class TestDevice:
    def test_tables_hold_what_the_device_takes(self) -> None:
        costs = measure_device(FakeDevice(), ["Q8_0", "F16"])
        assert list(costs.products) == ["Q8_0", "F16"]
        for measured in costs.products.values():
            assert measured.seconds_per_byte.points == TINY_SIZES.product_rows
            assert measured.seconds_per_byte.values == pytest.approx((1e-9, 1e-9, 4e-9))
        assert costs.products["Q8_0"].bytes_per_weight == 34 / 32
        assert costs.attention.rows == (1, 16)
        for num_rows, by_keys in zip((1, 16), costs.attention.by_keys, strict=True):
            assert by_keys.points == (64, 256)
            assert by_keys.values == pytest.approx((64e-6 * num_rows, 256e-6 * num_rows))
        assert (costs.attention.kv_bytes_per_token, costs.attention.multiply_adds) == (256, 256)
        assert costs.op_overhead_s == pytest.approx(1e-5)

    def test_only_the_quantisations_asked_for_are_packed(self) -> None:
        device = FakeDevice()
        measure_device(device, ["Q5_K"])
        assert [each for each in device.timed if "keys" not in each] == ["Q5_K"]

    def test_a_figure_of_a_bad_moment_does_not_make_more_rows_cheaper(self) -> None:
        class Disturbed(FakeDevice):
            def seconds(self, run: Callable[[], object]) -> float:
                disturbed = len(self.timed) == 1 and not self.products_timed
                self.products_timed += 1
                return super().seconds(run) * (1000 if disturbed else 1)

            products_timed = 0

        device = Disturbed(byte_s=1e-6)  # a run longer than LONG_RUN_S, which is run once
        values = measure_device(device, ["F16"]).products["F16"].seconds_per_byte.values
        assert values == pytest.approx((1e-6, 1e-6, 4e-6))

    def test_products_alone(self) -> None:
        told: list[tuple[int, int]] = []
        device = FakeDevice()
        products = measure_products(device, ["Q8_0"], lambda *each: told.append(each))
        assert products == measure_device(device, ["Q8_0"]).products
        assert told == [(done, 3) for done in range(4)]

    def test_progress(self) -> None:
        told: list[tuple[int, int]] = []
        measure_device(FakeDevice(), ["Q8_0", "F16"], lambda *each: told.append(each))
        assert told == [(done, 11) for done in range(12)]  # 6 products, 4 attentions, 1 op


class TestLink:
    def test_all_copies(self) -> None:
        told: list[tuple[int, int]] = []
        link = measure_link(FakeLink(), lambda *each: told.append(each))
        for direction, slower in (("to_gpu", 1), ("to_host", 1.5)):
            for memory, factor in (("pinned", 1), ("pageable", 4)):
                for num_bytes in COPY_BYTES:
                    expected = factor * slower * (1e-5 + num_bytes * 1e-10)
                    assert link.copy_seconds(num_bytes, direction, memory) == pytest.approx(
                        expected
                    )
        assert (COPY_BYTES[0], COPY_BYTES[-1]) == (4096, 64 * MIB)
        assert told == [(done, 32) for done in range(33)]


class TestOperands:
    @pytest.mark.parametrize("quant_type", QuantType)
    def test_random_weights_are_finite(self, quant_type: QuantType) -> None:
        raw = random_file_rows(quant_type, 16, 256)
        assert raw.shape == (16, quant_type.row_bytes(256))
        for dtype in (np.float16, np.float32):
            whole = raw.reshape(-1)[: raw.size // 4 * 4]
            assert np.isfinite(whole.view(dtype)).all()
        assert len(np.unique(raw)) > 100

    def test_a_sequence_sees_its_past_and_each_row_those_before_it(self) -> None:
        visibility = one_sequence(3, keys=100, rows=4)
        assert visibility.page_tables.tolist() == [[3, 4]]
        assert (visibility.past.tolist(), visibility.num_new.tolist()) == ([100], [4])
        assert visibility.mask.sum(axis=1).tolist() == [1, 2, 3, 4]

    def test_sequences_have_pages_of_their_own(self) -> None:
        tables = [each.page_tables[0] for each in sequences_of(20, keys=100, rows=4)]
        assert np.array_equal(np.concatenate(tables), np.arange(20))
        assert len(sequences_of(10_000, keys=100, rows=512)) == 2

    def test_operands_outgrow_what_was_asked_for(self) -> None:
        sizes = Sizes(cycled_bytes=64 * MIB)
        for quant_type in QuantType:
            matrix_bytes = 4096 * quant_type.row_bytes(4096)
            assert sizes.num_matrices(quant_type) * matrix_bytes >= 64 * MIB
        assert sizes.num_pages * 64 * sizes.kv_bytes_per_token >= 64 * MIB
        assert sizes.num_pages >= 2 * pages_of(16384 + 512)

    @pytest.mark.parametrize(
        ("cache_mib", "ram_mib", "cycled_mib"),
        [(100, 64_000, 200), (100, 80, 10), (16, 64_000, 64), (None, 64_000, 64)],
    )
    def test_twice_the_cache_unless_ram_is_short(
        self, cache_mib: int | None, ram_mib: int, cycled_mib: int
    ) -> None:
        machine = replace(
            probe(),
            last_level_cache_bytes=None if cache_mib is None else cache_mib * MIB,
            ram_available_bytes=ram_mib * MIB,
        )
        assert cpu_sizes(machine).cycled_bytes == cycled_mib * MIB

    def test_many_rows_need_few_operands(self) -> None:
        assert [ops_of_a_run(8, rows) for rows in (1, 64, 512, 5000)] == [8, 8, 2, 1]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure is timed for longer than it needs."""
    monkeypatch.setattr(measuring, "RUNS_S", 0.0)


def test_this_cpu(quick: None) -> None:
    costs = measure_device(CpuWorkloads(2, TINY_SIZES), ["Q4_K", "F16"])
    for measured in costs.products.values():
        assert all(0 < value < 1 for value in measured.seconds_per_byte.values)
    assert math.isclose(costs.products["Q4_K"].bytes_per_weight, 4.5 / 8, rel_tol=0.05)
    assert 0 < costs.op_overhead_s < 1


@pytest.mark.gpu
def test_work_of_a_gpu(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ops run; in Triton's interpreter too, where the host's clock stands in for events."""
    torch = pytest.importorskip("torch", reason="torch is not installed: it is in slipstream[gpu]")
    try:
        from slipstream.offload.profile.gpu_workloads import GpuWorkloads
    except ImportError as error:
        pytest.skip(str(error))
    if not torch.cuda.is_available():
        monkeypatch.setattr(GpuWorkloads, "seconds", CpuWorkloads.seconds)
    sizes = replace(TINY_SIZES, attention_keys=(16, 64))
    monkeypatch.setattr("slipstream.offload.profile.gpu_workloads.TINY_OPS", 1)
    with np.errstate(all="ignore"):  # the interpreter computes what a GPU computes in silence
        costs = measure_device(GpuWorkloads(sizes), ["Q8_0", "F16"])
    assert set(costs.products) == {"Q8_0", "F16"}
    assert costs.products["F16"].bytes_per_weight == 2


@pytest.mark.gpu
def test_copies_of_a_gpu(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: it is in slipstream[gpu]")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU answers")
    from slipstream.offload.profile.gpu_workloads import LinkCopies

    link = measure_link(LinkCopies())
    assert link.seconds(4096) < link.seconds(64 * MIB)


@pytest.mark.gpu
def test_events_and_copies_without_a_gpu(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of CUDA, from one that only notes it."""
    torch = pytest.importorskip("torch", reason="torch is not installed: it is in slipstream[gpu]")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, and the other tests use it")
    try:
        from slipstream.offload.profile.gpu_workloads import GpuWorkloads, LinkCopies
    except ImportError as error:
        pytest.skip(str(error))
    asked: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            asked.append("record")

        def synchronize(self) -> None:
            asked.append("wait for event")

        def elapsed_time(self, end: object) -> float:
            return 12.0  # milliseconds

    def zeros(*shape: int, pin_memory: bool = False, **options: object) -> object:
        asked.append("pinned" if pin_memory else "pageable")
        return make_zeros(*shape, **options)

    make_zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    for package in ("gpu_kernels", "gpu_kernels.graph_timing"):
        monkeypatch.setattr(f"slipstream.{package}.synchronize", lambda: asked.append("wait"))
    assert GpuWorkloads(TINY_SIZES).seconds(lambda: asked.append("run")) == 0.012
    assert asked == ["wait", "record", "run", "record", "wait for event"]
    asked.clear()
    assert LinkCopies().copy(4096, "to_host", "pinned").count == 1
    assert asked == ["pinned", "pageable", "wait"]  # the second is on the device
    link = measure_link(LinkCopies())
    assert 0 < link.seconds(4096) <= link.seconds(64 * MIB)
