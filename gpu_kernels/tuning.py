"""Measures which launch shapes of the products are fastest on this GPU."""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import product

from slipstream.cpu_kernels import QuantType
from slipstream.gpu_kernels.graph_timing import seconds_a_call
from slipstream.gpu_kernels.launch_shapes import LaunchShape
from slipstream.gpu_kernels.launch_table import candidate_shapes, case_name, remember
from slipstream.gpu_kernels.memory import DeviceMemoryError
from slipstream.gpu_kernels.packed_rows import PackedRows, packed_rows
from slipstream.gpu_kernels.part_product import Target, multiply_part
from slipstream.gpu_kernels.sample_weights import sample_weights
from slipstream.gpu_kernels.tensors import empty
from slipstream.gpu_kernels.weight import Weight

log = logging.getLogger(__name__)

# One of each class of `launch_table`: rows of x, and rows and columns of a matrix.
NUM_ROWS = (1, 4, 8, 16, 64, 512)
WEIGHT_ROWS = (1024, 4096, 12_288)
COLUMNS = (4096, 11_008)

Stopwatch = Callable[[Sequence[Callable[[], object]]], float]


def tune(
    quant_types: Iterable[QuantType],
    *,
    stopwatch: Stopwatch = seconds_a_call,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Measure all launch shapes for products with matrices of these types, and keep the fastest.

    Products take these shapes from now on, also in later processes on this GPU. Compiles a dozen
    kernels a type, and needs memory for two of the largest matrices: from 0.2 GB (Q4_K) to 1.1 GB
    (F32); types for which there is too little keep their shapes, and a warning says so. To be
    called while no model computes there.

    stopwatch : seconds that a call of several takes
    progress  : told (done, total), in sizes of matrices
    """
    types = list(dict.fromkeys(quant_types))
    sizes = list(product(types, WEIGHT_ROWS, COLUMNS))
    for done, (quant_type, weight_rows, columns) in enumerate(sizes):
        if progress:
            progress(done, len(sizes))
        try:
            remember(_fastest_shapes(quant_type, weight_rows, columns, stopwatch))
        except DeviceMemoryError:
            log.warning(
                "The GPU has too little memory to tune products of %s with matrices of %d x %d.",
                quant_type.name,
                weight_rows,
                columns,
            )
    if progress:
        progress(len(sizes), len(sizes))


def _fastest_shapes(
    quant_type: QuantType, weight_rows: int, columns: int, stopwatch: Stopwatch
) -> dict[str, LaunchShape]:
    """For each number of rows, by the name of the case."""
    weights = sample_weights(quant_type, weight_rows, columns)
    return {
        case_name(quant_type, num_rows, weight_rows, columns): fastest_shape(
            weights, num_rows, stopwatch
        )
        for num_rows in NUM_ROWS
    }


def fastest_shape(weights: Sequence[Weight], num_rows: int, stopwatch: Stopwatch) -> LaunchShape:
    """Of all shapes the fastest for products with weights of one size."""
    (part,) = weights[0].parts
    x, out = empty(num_rows, weights[0].columns), Target(out=empty(num_rows, part.rows))
    x.uniform_(-1, 1)
    packed = packed_rows(x, weights[0], None, None)
    return min(
        candidate_shapes(part.quant_type, num_rows),
        key=lambda shape: stopwatch([_product(packed, each, out, shape) for each in weights]),
    )


def _product(
    packed: PackedRows, weight: Weight, target: Target, shape: LaunchShape
) -> Callable[[], None]:
    (part,) = weight.parts
    return lambda: multiply_part(packed, part, weight.columns, target, shape)
