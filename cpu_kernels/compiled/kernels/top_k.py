"""The kernel of `top_k`."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.addresses import floats_at, ints_at, record_at
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.vector import LANES, Emitter
from slipstream.cpu_kernels.compiled.kernels.work_sharing import item_function, run_items
from slipstream.cpu_kernels.compiled.records import TOP_K

_MINUS_INFINITY = np.float32(-np.inf)
_GROUP = 4 * LANES  # numbers that are compared at once
_record_at = record_at(TOP_K)


@kernel()
def top_k(state: Any, record: Any) -> None:
    """Items are rows."""
    run_items(state, item_function(_row), record, _record_at(record).num_rows)


@kernel()
def _row(m, record, _scratch):
    r = _record_at(record)
    row_at = r.x + 4 * m * r.columns
    row = floats_at(row_at, (r.columns,))
    ids = ints_at(r.ids + 4 * m * r.k, (r.k,))
    out = floats_at(r.out + 4 * m * r.k, (r.k,))
    for i in range(r.k):
        ids[i], out[i] = -1, _MINUS_INFINITY
    c = 0
    while c + _GROUP <= r.columns:
        # After the first few groups hardly one has a number above the least of those found.
        if _any_above(row_at + 4 * c, out[r.k - 1]):
            for i in range(c, c + _GROUP):
                _insert(row[i], i, ids, out)
        c += _GROUP
    for i in range(c, r.columns):
        _insert(row[i], i, ids, out)


@kernel()
def _insert(number, index, ids, out):
    """Put a number where it belongs among those found, if it does; equal ones go behind."""
    place = out.shape[0]
    while place > 0 and number > out[place - 1]:
        place -= 1
    for i in range(out.shape[0] - 1, place, -1):
        ids[i], out[i] = ids[i - 1], out[i - 1]
    if place < out.shape[0]:
        ids[place], out[place] = index, number


@intrinsic
def _any_above(_context, numbers, limit):
    """Whether any of the `_GROUP` float32 at an address is larger than `limit`."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        limit = e.splat(values[1])
        above = None
        for n in range(_GROUP // LANES):
            part = e.load_floats("f32", e.address(values[0], 4 * LANES * n))
            here = builder.fcmp_ordered(">", part, limit)
            above = here if above is None else builder.or_(above, here)
        return e.any_true(above)

    return types.boolean(types.int64, types.float32), generate
