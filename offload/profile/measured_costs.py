"""Costs of devices and of a link from figures that were measured (`measuring`)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from slipstream.cpu_kernels import QuantType
from slipstream.offload.model_parts import LayerPart, Matrix, ModelParts
from slipstream.offload.profile.curve import Curve, interpolated

Direction = Literal["to_gpu", "to_host"]
HostMemory = Literal["pinned", "pageable"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
HOST_MEMORIES: tuple[HostMemory, ...] = get_args(HostMemory)

OPS_A_LAYER = 6  # four products, the rotation with its storing, attention


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredProduct:
    """Products with weights of one quantisation.

    Raises ValueError for weights that take no bytes.
    """

    seconds_per_byte: Curve  # of the weight as it is packed, by rows of the step
    bytes_per_weight: float  # packed, the scales included

    def __post_init__(self) -> None:
        if not 0 < self.bytes_per_weight < 16:
            raise ValueError(f"a weight can't take {self.bytes_per_weight} bytes")

    def read_gb_per_s(self) -> float:
        """Bytes of weights that a product of one row goes through, in GB/s."""
        return 1e-9 / self.seconds_per_byte(1)

    def multiply_adds_per_s(self, rows: int) -> float:
        """Multiply-adds a second of a product of `rows` rows."""
        return rows / (self.bytes_per_weight * self.seconds_per_byte(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredAttention:
    """Seconds of one layer's attention, by the keys that are held and the rows of the step.

    Raises ValueError for rows that don't increase or don't belong to the curves.
    """

    rows: tuple[int, ...]
    by_keys: tuple[Curve, ...]  # seconds by keys held before the step, for each of `rows`
    kv_bytes_per_token: int  # of the layer that was measured, as in `LayerPart`
    multiply_adds: int  # of that layer, for each row and key

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.by_keys) or len(self.rows) < 2:
            raise ValueError("attention: expected two numbers of rows at least, a curve for each")
        if list(self.rows) != sorted(set(self.rows)) or self.rows[0] < 1:
            raise ValueError(f"attention: the numbers of rows must increase; got {self.rows}")
        if self.kv_bytes_per_token <= 0 or self.multiply_adds <= 0:
            raise ValueError("attention: expected a layer with keys, values and multiply-adds")

    def layer_seconds(self, layer: LayerPart, rows: int, keys: int) -> float:
        """Seconds of a layer's attention for `rows` rows while `keys` keys are held.

        One row is scaled by the bytes of keys and values, which it reads; more rows, which share
        what is read, by the multiply-adds. Never less for more rows.
        """
        bytes_share = layer.kv_bytes_per_token / self.kv_bytes_per_token
        compute_share = layer.attention_multiply_adds / self.multiply_adds
        highest_s, seconds = 0.0, []
        for num_rows, by_keys in zip(self.rows, self.by_keys, strict=True):
            share = bytes_share if num_rows == 1 else compute_share
            highest_s = max(highest_s, share * by_keys(keys))
            seconds.append(highest_s)
        return interpolated(self.rows, seconds, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDeviceCosts:
    """A device whose products and attention were timed, as `DeviceCosts`.

    Raises ValueError where nothing was timed, for an unknown quantisation and an overhead that
    can't be.
    """

    products: Mapping[str, MeasuredProduct]  # by name of the quantisation
    attention: MeasuredAttention
    op_overhead_s: float  # of an op with next to nothing to do

    def __post_init__(self) -> None:
        if not self.products:
            raise ValueError("products: expected those of one quantisation at least")
        if unknown := sorted(self.products.keys() - QuantType.__members__.keys()):
            raise ValueError(f"products: unknown quantisations {', '.join(unknown)}")
        if not (math.isfinite(self.op_overhead_s) and self.op_overhead_s > 0):
            raise ValueError(f"an op's overhead can't be {self.op_overhead_s} seconds")

    def layer_seconds(self, layer: LayerPart, rows: int, held_tokens: int) -> float:
        """As `DeviceCosts`: the products, attention, and what six ops cost whatever their size."""
        products_s = sum(self.matrix_seconds(matrix, rows) for matrix in layer.matrices)
        attention_s = self.attention.layer_seconds(layer, rows, layer.keys_seen(held_tokens))
        return products_s + attention_s + OPS_A_LAYER * self.op_overhead_s

    def head_seconds(self, parts: ModelParts, rows: int) -> float:
        """As `DeviceCosts`: the product, and what one op costs whatever its size."""
        return self.matrix_seconds(parts.head, rows) + self.op_overhead_s

    def matrix_seconds(self, matrix: Matrix, rows: int) -> float:
        """Seconds of the product of `rows` rows with a matrix."""
        product = self.products[self.stand_in(matrix.quant_type)]
        return matrix.num_bytes * product.seconds_per_byte(rows)

    def with_products(self, products: Mapping[str, MeasuredProduct]) -> "MeasuredDeviceCosts":
        """With these products beside those that it has."""
        return replace(self, products={**self.products, **products})

    def stand_in(self, quant_type: str) -> str:
        """The measured quantisation whose figures are taken: itself, or the nearest in bits."""
        if quant_type in self.products:
            return quant_type
        bits = bits_per_weight(quant_type)
        return min(self.products, key=lambda name: (abs(bits_per_weight(name) - bits), name))

    def explain_stand_ins(self, quant_types: Iterable[str]) -> tuple[str, ...]:
        """A sentence for each of these quantisations that was not measured."""
        return tuple(
            f"{name} was not measured: it counts as {self.stand_in(name)}, byte for byte."
            for name in quant_types
            if name not in self.products
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLinkCosts:
    """Copies between host and GPU that were timed, as `LinkCosts`.

    Raises ValueError where a direction or a kind of host memory is missing.
    """

    copies: Mapping[Direction, Mapping[HostMemory, Curve]]  # seconds of a copy, by its bytes

    def __post_init__(self) -> None:
        if set(self.copies) != set(DIRECTIONS) or any(
            set(by_memory) != set(HOST_MEMORIES) for by_memory in self.copies.values()
        ):
            raise ValueError("copies: expected to_gpu and to_host, each pinned and pageable")

    def seconds(self, num_bytes: int) -> float:
        """As `LinkCosts`: pinned host memory, and the slower direction."""
        return max(self.copy_seconds(num_bytes, direction, "pinned") for direction in DIRECTIONS)

    def copy_seconds(self, num_bytes: int, direction: Direction, memory: HostMemory) -> float:
        """Seconds of one copy and of waiting for it."""
        return self.copies[direction][memory](num_bytes)


def bits_per_weight(quant_type: str) -> float:
    """Bits that a weight takes in a file, its share of the scales included."""
    kind = QuantType[quant_type]
    return 8 * kind.block_bytes / kind.block_columns
