"""Matrix product of activations with a packed weight, on all threads."""

import math
import threading

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.addresses import address_of, aligned_empty
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.matmul_tile import TILE_ROWS, TILE_SIGNATURE
from slipstream.cpu_kernels.compiled.panel_format import BLOCK_COLUMNS, PANEL_ROWS
from slipstream.cpu_kernels.compiled.quantize_rows import RECORD, quantize_row
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.weight import Weight
from slipstream.cpu_kernels.compiled.work_sharing import outline, run_items
from slipstream.cpu_kernels.errors import expect_float32

_NO_BIAS = np.empty(0, np.float32)
_scratch = threading.local()


def matmul(
    x: np.ndarray,
    weight: Weight,
    *,
    bias: np.ndarray | None = None,
    accumulate: bool = False,
    out: np.ndarray,
) -> np.ndarray:
    """out = x @ weight.T + bias, added to what `out` holds when `accumulate`.

    x      : (M, C) float32, C-contiguous
    weight : (N, C) packed
    bias   : (N,) float32
    out    : (M, N) float32, C-contiguous, written and returned
    Quantised weights meet activations rounded to int8, 32 columns a scale. Row m of the result is
    bit-identical whatever M is. Raises ShapeError when shapes do not fit.
    """
    expect_float32("x", x, (x.shape[0], weight.columns))
    expect_float32("out", out, (x.shape[0], weight.rows))
    if bias is not None:
        expect_float32("bias", bias, (weight.rows,))
    num_rows = x.shape[0] if weight.quantised else 0
    POOL.run(
        _matmul,
        weight.tiles,
        weight.panels,
        x,
        weight.quantised,
        _buffer("q", np.int8, (num_rows, weight.columns)),
        _buffer("records", np.float32, (num_rows, weight.columns // BLOCK_COLUMNS, RECORD)),
        _NO_BIAS if bias is None else bias,
        accumulate,
        out,
        POOL.num_threads,
    )
    return out


def _buffer(name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A thread's own scratch array, kept between calls."""
    size = math.prod(shape)
    held = getattr(_scratch, name, None)
    if held is None or held.size < size:
        held = aligned_empty(size * np.dtype(dtype).itemsize).view(dtype)
        setattr(_scratch, name, held)
    return held[:size].reshape(shape)


@intrinsic
def _call_tile(
    _context, address, panel, columns, x, x_stride, scales, scales_stride, out, out_stride
):
    """Call the tile kernel at an address."""

    def generate(context, builder, _signature, values):
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * 8)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.uint64, *TILE_SIGNATURE.args), generate


@kernel()
def _matmul(state, tiles, panels, x, quantised, q, records, bias, accumulate, out, num_threads):
    num_rows = x.shape[0]
    if quantised and num_rows < 4:  # less work than sharing it
        for m in range(num_rows):
            quantize_row(x[m], q[m], records[m])
    elif quantised:
        run_items(state, outline(_quantize_row_of, (x, q, records)), num_rows)
    # Chunks are small enough that a slow or busy core can get fewer of them.
    chunk = max(1, panels.shape[0] // (num_threads * 16))
    run_items(
        state,
        outline(_chunk_of_panels, (chunk, tiles, panels, x, q, records, bias, accumulate, out)),
        -(-panels.shape[0] // chunk),
    )


@kernel()
def _quantize_row_of(m, x, q, records):
    quantize_row(x[m], q[m], records[m])


@kernel()
def _chunk_of_panels(item, chunk, tiles, panels, x, q, records, bias, accumulate, out):
    num_rows, columns = x.shape
    quantised = records.size > 0
    x_at = address_of(q) if quantised else address_of(x)
    x_stride = np.uint64(columns if quantised else 4 * columns)
    records_stride = np.uint64(4 * RECORD * records.shape[1])
    result = np.empty((TILE_ROWS[0], PANEL_ROWS), np.float32)
    for p in range(item * chunk, min((item + 1) * chunk, panels.shape[0])):
        m = 0
        for t in range(len(TILE_ROWS)):
            rows = TILE_ROWS[t]
            while num_rows - m >= rows:
                _call_tile(
                    tiles[t],
                    address_of(panels) + np.uint64(p * panels.shape[1]),
                    np.uint64(columns),
                    x_at + np.uint64(m) * x_stride,
                    x_stride,
                    address_of(records) + np.uint64(m) * records_stride,
                    records_stride,
                    address_of(result),
                    np.uint64(4 * PANEL_ROWS),
                )
                _write_tile(result, rows, m, p * PANEL_ROWS, bias, accumulate, out)
                m += rows
    result[0, 0] = 0  # the tiles know it by address only: keep it alive until here


@kernel()
def _write_tile(result, rows, m, n, bias, accumulate, out):
    width = min(PANEL_ROWS, out.shape[1] - n)
    for i in range(rows):
        for j in range(width):
            value = result[i, j]
            if bias.shape[0]:
                value += bias[n + j]
            if accumulate:
                value += out[m + i, n + j]
            out[m + i, n + j] = value
