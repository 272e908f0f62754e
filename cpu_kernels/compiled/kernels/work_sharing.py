"""Shares an op's items among threads: whoever is free takes the next one.

An op is done when its items are done, not when every thread has come by. A worker that the system
has put aside, or that has not woken yet, holds nobody up unless it has an item in hand. (With
OpenMP's join each op on a busy machine waits for every thread: 16 ms instead of 0.5 ms, measured on
2 cores with one other process at work.)
"""

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.kernels.addresses import record_at, words_at
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.records import PROGRAM
from slipstream.cpu_kernels.compiled.worker_state import (
    DONE,
    FUNCTION,
    LIMIT,
    NUM_ITEMS,
    OP,
    RANK,
    RECORD,
    SCRATCH,
    TICKET,
    WORKER_SCRATCH,
)

_program_at = record_at(PROGRAM)
_LEFT = (1 << 32) - 1

_PATIENCE = 80_000  # looks of about 25 ns: 2 ms, longer than the gap between two steps
_X86_PAUSE = "llvm.x86.sse2.pause"
_WORD = ir.IntType(64)
_FUNCTION = ir.FunctionType(ir.VoidType(), [_WORD] * 3)


@kernel()
def run_items(state, function, record, num_items):
    """Run function(item, record, scratch) for 0 .. num_items - 1.

    This thread and the workers of `state` share them, each with its own scratch.

    function : what `item_function` returned
    """
    store_word(state + FUNCTION, function)
    store_word(state + RECORD, record)
    store_word(state + NUM_ITEMS, num_items)
    store_word(state + DONE, 0)
    op = load_word(state + OP) + 1
    store_word(state + OP, op)
    store_word(state + TICKET, (op << 32) | num_items)
    while take_item(state, state + SCRATCH):
        pass
    while load_word(state + DONE) < num_items:
        pause()


@kernel()
def take_item(state, scratch):
    """Run the next item, if there is one; False when none is left.

    scratch : of the thread that calls, see `borrow`
    """
    ticket = load_word(state + TICKET)
    while ticket & _LEFT:
        seen = compare_exchange(state + TICKET, ticket, ticket - 1)
        if seen == ticket:
            # The op can't end before this item: its words below stay what they are.
            item = load_word(state + NUM_ITEMS) - (ticket & _LEFT)
            call_address(load_word(state + FUNCTION), (item, load_word(state + RECORD), scratch))
            add_word(state + DONE, 1)
            return True
        ticket = seen
    return False


@kernel()
def work(state, own):
    """A worker's turn: run items until there were none for some time.

    own : address of its rank and its scratch, see worker_state
    """
    rank, scratch = load_word(own + RANK), own + WORKER_SCRATCH
    looks = 0
    while looks < _PATIENCE and rank < load_word(state + LIMIT):
        if take_item(state, scratch):
            looks = 0
        else:
            looks += 1
            pause()


@kernel()
def run_program(state, record):
    """Run the kernels of a program, each with its record, one after the other."""
    program = _program_at(record)
    calls = words_at(program.calls, (program.num_calls, 2))
    for i in range(program.num_calls):
        call_address(calls[i, 0], (state, calls[i, 1]))


@intrinsic
def item_function(_context, body):
    """Address of body(item, record, scratch), for `run_items`."""
    signature = types.void(*[types.int64] * 3)

    def generate(context, builder, _signature, _values):
        body.dispatcher.compile(signature.args)
        compiled = body.dispatcher.overloads[signature.args]
        context.active_code_library.add_linking_library(compiled.library)
        name = f"{compiled.fndesc.mangled_name}.item"
        function = ir.Function(builder.module, _FUNCTION, name)
        function.linkage = "internal"
        inner = ir.IRBuilder(function.append_basic_block())
        context.call_internal_no_propagate(inner, compiled.fndesc, signature, function.args)
        inner.ret_void()
        return builder.ptrtoint(function, _WORD)

    return types.int64(body), generate


@intrinsic
def call_address(_context, function, arguments):
    """Call the function at an address with int64 arguments, a tuple."""

    def generate(context, builder, _signature, values):
        given = cgutils.unpack_tuple(builder, values[1])
        kind = ir.FunctionType(ir.VoidType(), [_WORD] * len(given))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(arguments))), generate


def _pointer(builder, address):
    return builder.inttoptr(address, _WORD.as_pointer())


@intrinsic
def load_word(_context, address):
    """Atomically read an int64."""

    def generate(_context, builder, _signature, values):
        return builder.load_atomic(_pointer(builder, values[0]), "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def store_word(_context, address, value):
    """Atomically write an int64."""

    def generate(context, builder, _signature, values):
        builder.store_atomic(values[1], _pointer(builder, values[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def add_word(_context, address, value):
    """Atomically add to an int64; returns what it was."""

    def generate(_context, builder, _signature, values):
        return builder.atomic_rmw("add", _pointer(builder, values[0]), values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def compare_exchange(_context, address, expected, new):
    """Atomically replace `expected` by `new`; returns what was there."""

    def generate(_context, builder, _signature, values):
        result = builder.cmpxchg(
            _pointer(builder, values[0]), values[1], values[2], "seq_cst", "seq_cst"
        )
        return builder.extract_value(result, 0)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def pause(_context):
    """Tell the core that this is a waiting loop."""

    def generate(context, builder, _signature, _values):
        if binding.get_process_triple().startswith(("x86_64", "i686")):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _X86_PAUSE), [])
        return context.get_dummy_value()

    return types.void(), generate
