"""Addresses and bit casts for kernels, and aligned buffers."""

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
def bits_to_float32(_context, bits):
    """The float32 with these 32 bits."""

    def generate(_context, builder, _signature, values):
        return builder.bitcast(values[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def magnitude_bits(_context, value):
    """The bits of |value|, a float32: as integers in its order, with NaN above infinity."""

    def generate(_context, builder, _signature, values):
        bits = builder.bitcast(values[0], ir.IntType(32))
        return builder.and_(bits, ir.Constant(ir.IntType(32), 0x7FFFFFFF))

    return types.int32(types.float32), generate


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
    """Uninitialised uint8 array at the start of a cache line, so that no vector straddles two."""
    buffer = np.empty(num_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + num_bytes]
