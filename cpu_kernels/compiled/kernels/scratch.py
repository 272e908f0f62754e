"""Memory that an item needs while it runs: each thread keeps its own from item to item.

Taken from the C library each time, the scores of a long context would be mapped, faulted in page
by page and unmapped in every op: twice the time of the attention itself on a virtual machine.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.kernels.addresses import words_at
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel

_WORD = ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()
_LINE_BYTES = 64


@kernel()
def borrow(scratch, num_bytes):
    """Address of `num_bytes`, from the start of a cache line, until this thread borrows again.

    scratch : address of the thread's own (address, size), see worker_state
    """
    held = words_at(scratch, (2,))
    if held[1] < num_bytes:
        _release(held[0])
        held[1] = num_bytes + num_bytes // 2  # contexts grow a page at a time
        held[0] = _allocate(held[1] + _LINE_BYTES)
    return (held[0] + _LINE_BYTES - 1) & ~(_LINE_BYTES - 1)


@intrinsic
def _allocate(_context, num_bytes):
    """Address of fresh memory, on whose start nothing can be relied; `_release` it."""

    def generate(_context, builder, _signature, values):
        kind = ir.FunctionType(_POINTER, [_WORD])
        function = cgutils.get_or_insert_function(builder.module, kind, "malloc")
        return builder.ptrtoint(builder.call(function, values), _WORD)

    return types.int64(types.int64), generate


@intrinsic
def _release(_context, address):
    """Give back what `_allocate` gave."""

    def generate(context, builder, _signature, values):
        kind = ir.FunctionType(ir.VoidType(), [_POINTER])
        function = cgutils.get_or_insert_function(builder.module, kind, "free")
        builder.call(function, [builder.inttoptr(values[0], _POINTER)])
        return context.get_dummy_value()

    return types.void(types.int64), generate
