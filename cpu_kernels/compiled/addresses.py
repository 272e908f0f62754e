"""Addresses and bit casts for kernels, and aligned buffers."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
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
def round_f32(_context, value):
    """A float32 rounded to an integer, ties to even; as a vector instruction inside loops."""

    def generate(_context, builder, _signature, values):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.rint.f32")
        return builder.call(function, values)

    return types.float32(types.float32), generate


@intrinsic
def to_int32(_context, value):
    """A float32 as int32, towards zero."""

    def generate(_context, builder, _signature, values):
        return builder.fptosi(values[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic(prefer_literal=True)
def stack_space(_context, num_bytes):
    """Address of `num_bytes` (a literal) in the frame of the function that asks."""
    size = num_bytes.literal_value

    def generate(_context, builder, _signature, _values):
        space = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), size))
        space.align = 64
        return builder.ptrtoint(space, _WORD)

    return types.uint64(num_bytes), generate


@intrinsic
def load_f32(_context, address):
    """The float32 at an address."""

    def generate(_context, builder, _signature, values):
        return builder.load(builder.inttoptr(values[0], ir.FloatType().as_pointer()))

    return types.float32(types.uint64), generate


@intrinsic
def load_half(_context, address):
    """The float16 at an address, as float32."""

    def generate(_context, builder, _signature, values):
        pointer = builder.inttoptr(values[0], ir.HalfType().as_pointer())
        return builder.fpext(builder.load(pointer), ir.FloatType())

    return types.float32(types.uint64), generate


@intrinsic
def store_half(_context, address, value):
    """Write a float32 to an address, rounded to float16 (nearest even)."""

    def generate(context, builder, _signature, values):
        pointer = builder.inttoptr(values[0], ir.HalfType().as_pointer())
        builder.store(builder.fptrunc(values[1], ir.HalfType()), pointer)
        return context.get_dummy_value()

    return types.void(types.uint64, types.float32), generate


@intrinsic
def store_byte(_context, address, value):
    """Write the low 8 bits of an int32 to an address."""

    def generate(context, builder, _signature, values):
        pointer = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
        builder.store(builder.trunc(values[1], ir.IntType(8)), pointer)
        return context.get_dummy_value()

    return types.void(types.uint64, types.int32), generate


def aligned_empty(num_bytes: int) -> np.ndarray:
    """Uninitialised uint8 array at the start of a cache line, so that no vector straddles two."""
    buffer = np.empty(num_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + num_bytes]
