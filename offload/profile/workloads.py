"""What is timed, whatever device it runs on, and the random numbers that it runs on.

A device's workloads go round a set of operands larger than its caches, as the layers of a model do:
each weight, key and value has to come from the device's memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slipstream.cpu_kernels import QuantType, Visibility, kv_bytes_per_token
from slipstream.offload.profile.measured_costs import Direction, HostMemory

PAGE_TOKENS = 64  # of a page of keys and values, as the runtime has them
TINY_SIDE = 256  # rows and columns of a product that measures the overhead of an op
SEVERAL_ROWS = 1024  # rows times ops of one run


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is timed; by default a layer of a model with some 7 billion weights.

    The points of the tables are `product_rows`, `attention_keys` and `attention_rows`.
    """

    cycled_bytes: int  # that the operands of one run take together, at least
    matrix_side: int = 4096  # rows and columns; a multiple of 256
    product_rows: tuple[int, ...] = (1, 2, 4, 8, 16, 64, 512)
    attention_keys: tuple[int, ...] = (128, 1024, 4096, 16384)
    attention_rows: tuple[int, ...] = (1, 16, 512)
    num_heads: int = 16  # H
    num_kv_heads: int = 4  # K
    head_size: int = 128  # D

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of a token's key and value, in float16."""
        return kv_bytes_per_token(self.num_kv_heads, self.head_size, "float16")

    @property
    def attention_multiply_adds(self) -> int:
        """For each row and key: H x D for the score and as many for the sum of values."""
        return 2 * self.num_heads * self.head_size

    def num_matrices(self, quant_type: QuantType) -> int:
        """Matrices of this quantisation that a run goes round; 2 at least."""
        matrix_bytes = self.matrix_side * quant_type.row_bytes(self.matrix_side)
        return max(2, -(-self.cycled_bytes // matrix_bytes))

    @property
    def num_pages(self) -> int:
        """Pages of keys and values that are attended to; two of the longest sequences at least."""
        page_bytes = PAGE_TOKENS * self.kv_bytes_per_token
        longest = pages_of(max(self.attention_keys) + max(self.attention_rows))
        return max(-(-self.cycled_bytes // page_bytes), 2 * longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something to time."""

    run: Callable[[], object]
    count: int  # equal ops, or copies, that one run does


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Weights of one quantisation in a device's memory, and what is done with them."""

    num_bytes: int  # of one weight, packed
    of_rows: Callable[[int], Workload]  # products of so many rows, see `ops_of_a_run`


class DeviceWorkloads(Protocol):
    """A device with operands in its memory, freed with the object. All kernels are compiled."""

    sizes: Sizes

    def products(self, quant_type: QuantType) -> Products:
        """Packs weights of (matrix_side, matrix_side)."""
        ...

    def attention(self, keys: int, rows: int) -> Workload:
        """Rows of one sequence that holds `keys` keys before them."""
        ...

    def tiny_op(self) -> Workload:
        """An op that has next to nothing to do."""
        ...

    def seconds(self, run: Callable[[], object]) -> float:
        """Seconds in which the device did one run."""
        ...


class LinkWorkloads(Protocol):
    """A host and a GPU with room for copies."""

    def copy(self, num_bytes: int, direction: Direction, memory: HostMemory) -> Workload:
        """One copy, and waiting until it is done."""
        ...

    def seconds(self, run: Callable[[], object]) -> float:
        """Seconds of one run, as the host sees them."""
        ...


def random_file_rows(quant_type: QuantType, rows: int, columns: int) -> np.ndarray:
    """Stored bytes of a random matrix, uint8 (rows, row_bytes).

    The second highest bit of each byte is zero. So no float16, bfloat16 or float32 among them is
    infinite or not a number, nor is any larger than 2.
    """
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (rows, quant_type.row_bytes(columns)), np.uint8) & np.uint8(0xBF)


def random_activations(*shape: int) -> np.ndarray:
    """Normally distributed, float32."""
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def one_sequence(first_page: int, keys: int, rows: int) -> Visibility:
    """`rows` new rows of one sequence, each after the one before, behind `keys` committed keys.

    Its pages are neighbours, from `first_page` on.
    """
    pages = np.arange(first_page, first_page + pages_of(keys + rows), dtype=np.int32)
    return Visibility(
        sequences=np.zeros(rows, np.int32),
        page_tables=pages[None],
        past=np.array([keys], np.int32),
        first_key=np.zeros(rows, np.int32),
        mask=np.tri(rows, dtype=np.bool_),
        num_new=np.array([rows], np.int32),
    )


def sequences_of(num_pages: int, keys: int, rows: int) -> list[Visibility]:
    """Sequences for one run, beside each other in `num_pages` pages."""
    pages_each = pages_of(keys + rows)
    count = ops_of_a_run(num_pages // pages_each, rows)
    return [one_sequence(index * pages_each, keys, rows) for index in range(count)]


def ops_of_a_run(num_operands: int, rows: int) -> int:
    """How many of the operands a run goes round: all, or fewer where there are many rows.

    Many rows don't wait for memory, so that they need no operands that are in no cache.
    """
    return min(num_operands, max(1, SEVERAL_ROWS // rows))


def pages_of(tokens: int) -> int:
    """Pages that so many tokens need."""
    return -(-tokens // PAGE_TOKENS)
