"""A GPU, a CPU and a link whose times follow from a formula: a run says how long it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from slipstream.cpu_kernels import QuantType
from slipstream.offload.profile.gpu_access import GpuMismatchError
from slipstream.offload.profile.measured_costs import Direction, HostMemory
from slipstream.offload.profile.workloads import Products, Sizes, Workload, ops_of_a_run

TINY_SIZES = Sizes(
    cycled_bytes=1,
    matrix_side=256,
    product_rows=(1, 4, 16),
    attention_keys=(64, 256),
    attention_rows=(1, 16),
    num_heads=4,
    num_kv_heads=2,
    head_size=32,
)


@dataclass(kw_only=True)
class FakeDevice:
    """Products take `byte_s` a byte for each 4 rows begun, attention `key_s` a key and row.

    timed : what was made, a line each
    tuned : the quantisations of each tuning
    fails : raised by the first run, if anything
    """

    sizes: Sizes = TINY_SIZES
    byte_s: float = 1e-9
    key_s: float = 1e-6
    op_s: float = 1e-5
    timed: list[str] = field(default_factory=list)
    tuned: list[tuple[str, ...]] = field(default_factory=list)
    fails: Exception | None = None
    wrong: set[str] = field(default_factory=set)  # quantisations whose products are

    def check(self, quant_types: Sequence[str]) -> None:
        if found := self.wrong & set(quant_types):
            raise GpuMismatchError(f"a product with {', '.join(found)} is wrong")

    def products(self, quant_type: QuantType) -> Products:
        self.timed.append(quant_type.name)
        side = self.sizes.matrix_side
        num_bytes = side * quant_type.row_bytes(side)

        def of_rows(rows: int) -> Workload:
            count = ops_of_a_run(self.sizes.num_matrices(quant_type), rows)
            seconds = count * num_bytes * self.byte_s * -(-rows // 4)
            return Workload(run=lambda: seconds, count=count)

        return Products(num_bytes=num_bytes, of_rows=of_rows)

    def attention(self, keys: int, rows: int) -> Workload:
        self.timed.append(f"{keys} keys, {rows} rows")
        return Workload(run=lambda: 3 * keys * rows * self.key_s, count=3)

    def tiny_op(self) -> Workload:
        return Workload(run=lambda: 10 * self.op_s, count=10)

    def seconds(self, run: Callable[[], object]) -> float:
        if self.fails is not None:
            raise self.fails
        taken = run()
        assert isinstance(taken, float)
        return taken


@dataclass(kw_only=True)
class FakeLink:
    """Copies take 10 us and 0.1 ns a byte; four times that from and to pageable memory."""

    def copy(self, num_bytes: int, direction: Direction, memory: HostMemory) -> Workload:
        factor = 4 if memory == "pageable" else 1
        slower = 1.5 if direction == "to_host" else 1
        return Workload(run=lambda: factor * slower * (1e-5 + num_bytes * 1e-10), count=1)

    def seconds(self, run: Callable[[], object]) -> float:
        taken = run()
        assert isinstance(taken, float)
        return taken
