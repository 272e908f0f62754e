"""Shares an op's items among threads: whoever is free takes the next one.

An op is done when its items are done, not when every thread has come by. A worker that the system
has put aside, or that has not woken yet, holds nobody up unless it has an item in hand. (With
OpenMP's join each op on a busy machine waits for every thread: 16 ms instead of 0.5 ms, measured on
2 cores with one other process at work.)

The state is a block of int64 words that all threads know by address. The ticket has the op's
number in its high half and the items that are left in its low half, so that a worker that was put
aside can't take an item of one op for one of the next.
"""

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.cache import kernel

STATE_WORDS = 64  # each used word has a cache line of its own
TICKET, DONE, OP, FUNCTION, DATA, NUM_ITEMS, LIMIT = (8 * 8 * line for line in range(7))
_LEFT = (1 << 32) - 1

_X86_PAUSE = "llvm.x86.sse2.pause"
_WORD = ir.IntType(64)
_BYTE_POINTER = ir.IntType(8).as_pointer()
_ITEM_FUNCTION = ir.FunctionType(ir.VoidType(), [_WORD, _BYTE_POINTER])


@kernel()
def run_items(state, item_function, num_items):
    """Run item_function for 0 .. num_items - 1 on this thread and the workers of `state`.

    item_function : what `outline` returned
    """
    store_word(state + FUNCTION, item_function[0])
    store_word(state + DATA, item_function[1])
    store_word(state + NUM_ITEMS, types.int64(num_items))
    store_word(state + DONE, types.int64(0))
    op = load_word(state + OP) + 1
    store_word(state + OP, op)
    store_word(state + TICKET, (op << 32) | num_items)
    while take_item(state):
        pass
    while load_word(state + DONE) < num_items:
        pause()


@kernel()
def take_item(state):
    """Run the next item, if there is one; False when none is left."""
    ticket = load_word(state + TICKET)
    while ticket & _LEFT:
        seen = compare_exchange(state + TICKET, ticket, ticket - 1)
        if seen == ticket:
            # The op can't end before this item: its words below stay what they are.
            item = load_word(state + NUM_ITEMS) - (ticket & _LEFT)
            call_item(load_word(state + FUNCTION), item, load_word(state + DATA))
            add_word(state + DONE, 1)
            return True
        ticket = seen
    return False


@kernel()
def work(state, rank, patience):
    """A worker's turn: run items until there were none for `patience` looks."""
    looks = 0
    while looks < patience and rank < load_word(state + LIMIT):
        if take_item(state):
            looks = 0
        else:
            looks += 1
            pause()


@intrinsic
def outline(typingctx, body, arguments):
    """(function, data) addresses with which `run_items` can call body(item, *arguments).

    `arguments` is a tuple; whoever called this op keeps the arrays in it alive, so none may have
    been made inside it. The data lives in this function's frame.
    """
    signature = body.get_call_type(typingctx, (types.int64, *arguments.types), {})

    def generate(context, builder, _signature, values):
        compiled = body.dispatcher.overloads[signature.args]
        context.active_code_library.add_linking_library(compiled.library)
        members = cgutils.unpack_tuple(builder, values[1], len(arguments))
        frame_type = ir.LiteralStructType([member.type for member in members])
        frame = cgutils.alloca_once(builder, frame_type)
        for index, member in enumerate(members):
            builder.store(member, cgutils.gep_inbounds(builder, frame, 0, index))
        name = f"{compiled.fndesc.mangled_name}.item"
        function = ir.Function(builder.module, _ITEM_FUNCTION, name)
        function.linkage = "internal"
        inner = ir.IRBuilder(function.append_basic_block())
        known = inner.bitcast(function.args[1], frame_type.as_pointer())
        held = [
            inner.load(cgutils.gep_inbounds(inner, known, 0, index))
            for index in range(len(members))
        ]
        context.call_internal_no_propagate(
            inner, compiled.fndesc, signature, [function.args[0], *held]
        )
        inner.ret_void()
        addresses = [builder.ptrtoint(pointer, _WORD) for pointer in (function, frame)]
        return context.make_tuple(builder, types.UniTuple(types.int64, 2), addresses)

    return types.UniTuple(types.int64, 2)(body, arguments), generate


@intrinsic
def call_item(_context, function, item, data):
    """Call an outlined function."""

    def generate(context, builder, _signature, values):
        callee = builder.inttoptr(values[0], _ITEM_FUNCTION.as_pointer())
        builder.call(callee, [values[1], builder.inttoptr(values[2], _BYTE_POINTER)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


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
