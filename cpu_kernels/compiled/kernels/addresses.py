"""Records, arrays and numbers at addresses; bit casts."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

_WORD = ir.IntType(64)
ZERO = np.int64(0)  # for a plain 0 Numba would compile each function that takes it once more


def record_at(layout: np.dtype) -> Any:
    """The function that makes of an address the record of this layout there."""
    kind = numba.from_dtype(layout)

    @intrinsic
    def read(_context, address):
        def generate(context, builder, _signature, values):
            return builder.inttoptr(values[0], context.get_value_type(kind))

        return kind(types.int64), generate

    return read


def array_at(dtype: Any) -> Any:
    """The function that makes of an address and a shape the C-contiguous array of `dtype` there."""
    item = numba.from_dtype(np.dtype(dtype))

    @intrinsic
    def view(_context, address, shape):
        kind = types.Array(item, len(shape), "C")

        def generate(context, builder, _signature, values):
            array = make_array(kind)(context, builder)
            lengths = cgutils.unpack_tuple(builder, values[1], len(shape))
            item_bytes = context.get_constant(
                types.intp, context.get_abi_sizeof(context.get_data_type(item))
            )
            strides = [item_bytes]
            for length in lengths[:0:-1]:
                strides.insert(0, builder.mul(strides[0], length))
            populate_array(
                array,
                data=builder.inttoptr(values[0], array.data.type),
                shape=lengths,
                strides=strides,
                itemsize=item_bytes,
                meminfo=None,
            )
            return array._getvalue()

        return kind(types.int64, types.UniTuple(types.int64, len(shape))), generate

    return view


floats_at = array_at(np.float32)
ints_at = array_at(np.int32)
words_at = array_at(np.int64)


@intrinsic
def address_of(_context, array):
    """Address of an array's first element."""

    def generate(context, builder, signature, values):
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        return builder.ptrtoint(data, _WORD)

    return types.int64(array), generate


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

    return types.int64(num_bytes), generate


@intrinsic
def load_f32(_context, address):
    """The float32 at an address."""

    def generate(_context, builder, _signature, values):
        return builder.load(builder.inttoptr(values[0], ir.FloatType().as_pointer()))

    return types.float32(types.int64), generate


@intrinsic
def load_half(_context, address):
    """The float16 at an address, as float32."""

    def generate(_context, builder, _signature, values):
        pointer = builder.inttoptr(values[0], ir.HalfType().as_pointer())
        return builder.fpext(builder.load(pointer), ir.FloatType())

    return types.float32(types.int64), generate


@intrinsic
def store_half(_context, address, value):
    """Write a float32 to an address, rounded to float16 (nearest even)."""

    def generate(context, builder, _signature, values):
        pointer = builder.inttoptr(values[0], ir.HalfType().as_pointer())
        builder.store(builder.fptrunc(values[1], ir.HalfType()), pointer)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def store_byte(_context, address, value):
    """Write the low 8 bits of an int32 to an address."""

    def generate(context, builder, _signature, values):
        pointer = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
        builder.store(builder.trunc(values[1], ir.IntType(8)), pointer)
        return context.get_dummy_value()

    return types.void(types.int64, types.int32), generate


def _loader(kind: ir.IntType, signed: bool) -> Any:
    """The function that reads this integer at an address, aligned or not, as int64."""

    @intrinsic
    def load(_context, address):
        def generate(_context, builder, _signature, values):
            number = builder.load(builder.inttoptr(values[0], kind.as_pointer()), align=1)
            if kind.width == _WORD.width:
                return number
            return (builder.sext if signed else builder.zext)(number, _WORD)

        return types.int64(types.int64), generate

    return load


def _storer(kind: ir.IntType) -> Any:
    """The function that writes an int64 to an address, aligned or not, as this integer."""

    @intrinsic
    def store(_context, address, number):
        def generate(context, builder, _signature, values):
            pointer = builder.inttoptr(values[0], kind.as_pointer())
            low = values[1] if kind.width == _WORD.width else builder.trunc(values[1], kind)
            builder.store(low, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return store


# A kernel that reads here and there compiles in half the time with these instead of arrays.
load_u8, store_u8 = _loader(ir.IntType(8), False), _storer(ir.IntType(8))
load_i32, store_i32 = _loader(ir.IntType(32), True), _storer(ir.IntType(32))
load_i64, store_i64 = _loader(_WORD, True), _storer(_WORD)
