"""How products are shared out on a GPU changes no bit; what was measured is kept and used."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from support.op_backends import load_ops
from support.random_blocks import random_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of NumPy, where Triton interprets
]
ROWS, COLUMNS = 17, 1280  # a segment of columns and a quarter of another
TYPES = (QuantType.Q4_K, QuantType.Q6_K, QuantType.Q2_K, QuantType.MXFP4, QuantType.F16)
Calls = Sequence[Callable[[], object]]


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty table of launch shapes, in a file of the test's own."""
    load_ops("triton")
    monkeypatch.setenv("SLIPSTREAM_CACHE", str(tmp_path / "cache"))
    forget()
    yield
    monkeypatch.undo()
    forget()


def forget() -> None:
    """As in a fresh process: the file is read again."""
    from slipstream.gpu_kernels import launch_table

    launch_table._measured.cache_clear()
    launch_table.launch_shape.cache_clear()


def products(quant_type: QuantType, num_rows: int) -> dict[object, np.ndarray]:
    """The product in every shape that it may be launched in."""
    from slipstream import gpu_kernels
    from slipstream.gpu_kernels.launch_table import candidate_shapes
    from slipstream.gpu_kernels.packed_rows import packed_rows
    from slipstream.gpu_kernels.part_product import Target, multiply_part

    rng = np.random.default_rng(quant_type.value)
    raw = random_rows(quant_type, ROWS, COLUMNS, rng)
    weight = gpu_kernels.pack_weight(raw, quant_type, COLUMNS)
    x, bias, before = (
        gpu_kernels.from_host(rng.standard_normal(shape).astype(np.float32))
        for shape in ((num_rows, COLUMNS), (ROWS,), (num_rows, ROWS))
    )
    packed = packed_rows(x, weight, None, None)
    found = {}
    for shape in candidate_shapes(quant_type, num_rows):
        target = Target(out=before.clone(), bias=bias, accumulate=True)
        multiply_part(packed, weight.parts[0], COLUMNS, target, shape)
        found[shape] = gpu_kernels.to_host(target.out)
    return found


@pytest.mark.parametrize("num_rows", [3, 19])
@pytest.mark.parametrize("quant_type", TYPES)
def test_every_shape_makes_the_same_bits(quant_type: QuantType, num_rows: int) -> None:
    first, *others = products(quant_type, num_rows).values()
    assert np.isfinite(first).all()
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("num_rows", [1, 19])
@pytest.mark.parametrize("quant_type", [QuantType.Q4_K, QuantType.Q6_K])
def test_a_gpu_without_int8_units_makes_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, quant_type: QuantType, num_rows: int
) -> None:
    from slipstream.gpu_kernels import launch_shapes, part_product

    first = next(iter(products(quant_type, num_rows).values()))
    for module in (launch_shapes, part_product):
        monkeypatch.setattr(module, "multiplies_int8", lambda: False)
    for each in products(quant_type, num_rows).values():
        np.testing.assert_array_equal(each, first)


class Stopwatch:
    """Calls what it is given, and says that the shape at one place was the fastest."""

    def __init__(self, fastest: int) -> None:
        self.fastest = fastest
        self.times = 0

    def __call__(self, calls: Calls) -> float:
        assert len(calls) >= 2  # weights in turn, so that no cache holds them
        for call in calls:
            call()
        self.times += 1
        return 1.0 if self.times == self.fastest + 1 else 2.0


@pytest.fixture
def one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from slipstream.gpu_kernels import tuning

    monkeypatch.setattr(tuning, "NUM_ROWS", (4,))
    monkeypatch.setattr(tuning, "WEIGHT_ROWS", (16,))
    monkeypatch.setattr(tuning, "COLUMNS", (256,))


@pytest.mark.usefixtures("one_size")
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("quant_type", [QuantType.Q4_K, QuantType.F16])
def test_the_fastest_shape_is_kept(quant_type: QuantType, place: int) -> None:
    from slipstream.gpu_kernels.launch_table import candidate_shapes, launch_shape
    from slipstream.gpu_kernels.tuning import tune

    shapes = candidate_shapes(quant_type, 2)
    assert launch_shape(quant_type, 2, 2000, 6000) == shapes[0]
    stopwatch = Stopwatch(place)
    tune([quant_type, quant_type], stopwatch=stopwatch)
    assert stopwatch.times == len(candidate_shapes(quant_type, 4))
    for _ in range(2):
        assert launch_shape(quant_type, 2, 2000, 6000) == candidate_shapes(quant_type, 4)[place]
        for rows, weight_rows, columns in (
            (1, 16, 256),
            (5, 16, 256),
            (4, 2049, 256),
            (4, 16, 6145),
        ):
            default = candidate_shapes(quant_type, rows)[0]
            assert launch_shape(quant_type, rows, weight_rows, columns) == default
        forget()


def test_each_class_of_sizes_is_measured() -> None:
    from slipstream.gpu_kernels import launch_shapes, launch_table, tuning

    for measured, limits in (
        (tuning.NUM_ROWS, launch_shapes.ROW_LIMITS),
        (tuning.WEIGHT_ROWS, launch_table.WEIGHT_ROW_LIMITS),
        (tuning.COLUMNS, launch_table.COLUMN_LIMITS),
    ):
        classes = [launch_table._limit(size, limits) for size in measured]
        assert classes == [*map(str, limits), "more"]


@pytest.mark.usefixtures("one_size")
def test_other_gpus_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    from slipstream.gpu_kernels import launch_table
    from slipstream.gpu_kernels.tuning import tune

    default = launch_table.launch_shape(QuantType.Q4_K, 4, 16, 256)
    tune([QuantType.Q4_K], stopwatch=Stopwatch(1))
    chosen = launch_table.launch_shape(QuantType.Q4_K, 4, 16, 256)
    with monkeypatch.context() as patch:
        patch.setattr(launch_table, "gpu_identity", lambda: "another GPU")
        forget()
        assert launch_table.launch_shape(QuantType.Q4_K, 4, 16, 256) == default
        tune([QuantType.Q4_K], stopwatch=Stopwatch(2))
    assert len(json.loads(launch_table.table_file().read_text())) == 2
    forget()
    assert launch_table.launch_shape(QuantType.Q4_K, 4, 16, 256) == chosen != default


@pytest.mark.usefixtures("one_size")
@pytest.mark.parametrize("damage", [
    b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"GPU": 1}', b'{"GPU": {"CASE": null}}',
    b'{"GPU": {"CASE": {"block_m": 7}}}'
])  # fmt: skip
def test_a_damaged_table_is_none(damage: bytes) -> None:
    from slipstream.gpu_kernels.launch_table import gpu_identity, launch_shape, table_file
    from slipstream.gpu_kernels.tuning import tune

    default = launch_shape(QuantType.Q4_K, 4, 16, 256)
    tune([QuantType.Q4_K], stopwatch=Stopwatch(1))
    chosen = launch_shape(QuantType.Q4_K, 4, 16, 256)
    ((case, _),) = json.loads(table_file().read_text())[gpu_identity()].items()
    damage = damage.replace(b"GPU", gpu_identity().encode()).replace(b"CASE", case.encode())
    table_file().write_bytes(damage)
    forget()
    assert launch_shape(QuantType.Q4_K, 4, 16, 256) == default
    tune([QuantType.Q4_K], stopwatch=Stopwatch(1))
    forget()
    assert launch_shape(QuantType.Q4_K, 4, 16, 256) == chosen


@pytest.mark.usefixtures("one_size")
def test_an_unwritable_table_serves_this_process(tmp_path: Path) -> None:
    from slipstream.gpu_kernels.launch_table import candidate_shapes, launch_shape
    from slipstream.gpu_kernels.tuning import tune

    (tmp_path / "cache").write_text("no folder")
    tune([QuantType.Q4_K], stopwatch=Stopwatch(1))
    assert launch_shape(QuantType.Q4_K, 4, 16, 256) == candidate_shapes(QuantType.Q4_K, 4)[1]


@pytest.mark.usefixtures("one_size")
def test_without_memory_shapes_stay_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    from slipstream.gpu_kernels import DeviceMemoryError
    from slipstream.gpu_kernels.launch_table import candidate_shapes, launch_shape
    from slipstream.gpu_kernels.tuning import tune

    def stopwatch(_: object) -> float:
        raise DeviceMemoryError("out of memory")

    told = []
    tune([QuantType.Q4_K], stopwatch=stopwatch, progress=lambda *each: told.append(each))
    assert launch_shape(QuantType.Q4_K, 4, 16, 256) == candidate_shapes(QuantType.Q4_K, 4)[0]
    assert "too little memory to tune products of Q4_K" in caplog.text
    assert told == [(0, 1), (1, 1)]


@pytest.mark.usefixtures("one_size")
def test_tuning_measures_and_steps_never_wait() -> None:
    """A product whose shape was not asked for yet launches its kernels and goes on."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("there is no GPU whose time could be measured")
    import torch

    from slipstream import gpu_kernels
    from slipstream.gpu_kernels.sample_weights import sample_weights
    from slipstream.gpu_kernels.tuning import tune

    tune([QuantType.Q4_K])
    weight = sample_weights(QuantType.Q4_K, 16, 256)[0]
    x, out = torch.ones((4, 256), device="cuda"), torch.empty((4, 16), device="cuda")
    forget()
    torch.cuda.set_sync_debug_mode("error")
    try:
        gpu_kernels.matmul(x, weight, out=out)
    finally:
        torch.cuda.set_sync_debug_mode("default")
