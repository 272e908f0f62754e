"""Addresses, atomics and bit casts for kernels, and the buffers that they share."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_WORD = ir.IntType(64)


@intrinsic
def address_of(_context, array):
    """Address of an array's first element; the caller keeps the array alive."""

    def generate(context, builder, signature, values):
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        return builder.ptrtoint(data, _WORD)

    return types.uint64(array), generate


@intrinsic
def next_item(_context, counter):
    """Atomically take the int64 at an address and add one to it there."""

    def generate(_context, builder, _signature, values):
        pointer = builder.inttoptr(values[0], _WORD.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(_WORD, 1), "monotonic")

    return types.int64(types.uint64), generate


@intrinsic
def bits_to_float32(_context, bits):
    """The float32 with these 32 bits."""

    def generate(_context, builder, _signature, values):
        return builder.bitcast(values[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def half_to_float32(_context, bits):
    """The float16 with these 16 bits, as float32."""

    def generate(_context, builder, _signature, values):
        return builder.fpext(builder.bitcast(values[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def float32_to_half(_context, value):
    """A float32 rounded to float16 (nearest even), as 16 bits."""

    def generate(_context, builder, _signature, values):
        return builder.bitcast(builder.fptrunc(values[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


def aligned_empty(num_bytes: int) -> np.ndarray:
    """Uninitialised uint8 array that starts at a cache line, so that no vector straddles two."""
    buffer = np.empty(num_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + num_bytes]
