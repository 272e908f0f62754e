"""Whether the GPU computes what the CPU computes, op by op, before anything is left to it."""

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from slipstream import gpu_kernels
from slipstream.cpu_kernels import QuantType, RmsNorm, Visibility, compiled
from slipstream.offload.profile.gpu_access import GpuMismatchError
from slipstream.offload.profile.gpu_workloads import visibility_on_device
from slipstream.offload.profile.workloads import (
    PAGE_TOKENS,
    one_sequence,
    random_activations,
    random_file_rows,
)

# The largest difference of a result, in standard deviations of the CPU's. Both round to int8 in the
# same places, so that float32 rounding alone is left; one number that falls to another quant is
# some hundredths.
LIMIT = 0.1

_BOTH = (gpu_kernels, compiled)
_NUM_ROWS = (1, 12, 24, 80)  # kernels differ by them
_ROWS, _COLUMNS = 48, 512  # of a weight; a row of Q2_K to Q6_K has blocks of 256
_HEADS, _KV_HEADS, _HEAD_SIZE = 4, 2, 64
_PAST = 100  # keys before a step's, on two pages


def check(quant_types: Sequence[str]) -> None:
    """Raise GpuMismatchError, saying which, when an op's result is not the CPU's."""
    compiled.prepare({QuantType[name] for name in quant_types})
    for what, got, want in _results(quant_types):
        error = float(np.abs(got - want).max() / want.std())
        if not error <= LIMIT:  # nor where it is no number
            raise GpuMismatchError(
                f"{what} there is not what it is on the CPU: a number differs by {error:.2g} times "
                f"the spread of all, and {LIMIT} times are allowed"
            )


def _results(quant_types: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each op: what it is, the GPU's result and the CPU's."""
    for num_rows in _NUM_ROWS:
        of_rows = f"of {num_rows} rows"
        for name in quant_types:
            got, want = (_product(ops, QuantType[name], num_rows) for ops in _BOTH)
            yield f"a product {of_rows} with {name}", got, want
        got, want = (_attended(ops, num_rows) for ops in _BOTH)
        yield f"attention {of_rows}", got, want


def _product(ops: ModuleType, quant_type: QuantType, num_rows: int) -> np.ndarray:
    """Of normed rows; both devices norm them with the same kernel that multiplies."""
    weight = ops.pack_weight(random_file_rows(quant_type, _ROWS, _COLUMNS), quant_type, _COLUMNS)
    norm = RmsNorm(weight=ops.from_host(random_activations(_COLUMNS)), eps=1e-6)
    x, out = ops.from_host(random_activations(num_rows, _COLUMNS)), ops.empty(num_rows, _ROWS)
    return np.array(ops.to_host(ops.matmul(x, weight, norm=norm, out=out)))


def _attended(ops: ModuleType, num_rows: int) -> np.ndarray:
    """What rows gather behind `_PAST` keys, all of which `rotate_and_store` stored."""
    pages = ops.KVPages.empty(
        num_pages=4,
        num_heads=_KV_HEADS,
        head_size=_HEAD_SIZE,
        page_size=PAGE_TOKENS,
        dtype="float16",
    )
    _stored(ops, pages, np.arange(_PAST))
    q = _stored(ops, pages, np.arange(_PAST, _PAST + num_rows))
    seen: Visibility = one_sequence(0, _PAST, num_rows)
    if not ops.IN_HOST_MEMORY:
        seen = visibility_on_device(seen)
    out = ops.empty(num_rows, _HEADS, _HEAD_SIZE)
    return np.array(ops.to_host(ops.attention(q, pages, seen, scale=_HEAD_SIZE**-0.5, out=out)))


def _stored(ops: ModuleType, pages: Any, places: np.ndarray) -> Any:
    """Rotated queries of tokens at these places, whose keys and values are stored."""
    num_rows = len(places)
    angles = places[:, None] * np.linspace(1.0, 0.001, _HEAD_SIZE // 2)
    qkv = random_activations(num_rows, (_HEADS + 2 * _KV_HEADS) * _HEAD_SIZE)
    out = ops.empty(num_rows, _HEADS, _HEAD_SIZE)
    ops.rotate_and_store(
        ops.from_host(qkv),
        *(ops.from_host(each.astype(np.float32)) for each in (np.cos(angles), np.sin(angles))),
        *(
            ops.from_host(each.astype(np.int32))
            for each in (places // PAGE_TOKENS, places % PAGE_TOKENS)
        ),
        interleaved=False,
        query_norm=None,
        key_norm=None,
        pages=pages,
        out=out,
    )
    return out
