"""The kernel of `rms_norm`."""

from typing import Any

from slipstream.cpu_kernels.compiled.kernels.addresses import floats_at, record_at
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.norm_row import norm_factor, norm_row
from slipstream.cpu_kernels.compiled.records import RMS_NORM

_record_at = record_at(RMS_NORM)


@kernel()
def rms_norm(_state: Any, record: Any) -> None:
    """Norm the rows on this thread: there are few, and they are short."""
    r = _record_at(record)
    x = floats_at(r.x, (r.num_rows, r.columns))
    out = floats_at(r.out, (r.num_rows, r.columns))
    weight = floats_at(r.weight, (r.columns,))
    for m in range(r.num_rows):
        if r.accumulate:
            factor = norm_factor(x[m], r.eps)
            for c in range(r.columns):
                out[m, c] += x[m, c] * factor * weight[c]
        else:
            norm_row(x[m], weight, r.eps, out[m])
