"""This host's dot product by itself."""

from typing import Any

from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.dot_rate import CHAINS
from slipstream.cpu_kernels.compiled.instruction_set import (
    INSTRUCTION_SETS,
    chosen_instruction_set,
)
from slipstream.cpu_kernels.compiled.kernels.addresses import ints_at
from slipstream.cpu_kernels.compiled.kernels.compiler import kernel
from slipstream.cpu_kernels.compiled.kernels.vector import BYTES, I32, Emitter, Variable

_INSTRUCTION_SET = chosen_instruction_set()


@intrinsic(prefer_literal=True)
def _emit_dots(_context, instruction_set, turns):
    isa = INSTRUCTION_SETS[instruction_set.literal_value]

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        e = Emitter(builder, isa)
        sums = [Variable(e, e.ints(chain)) for chain in range(CHAINS)]
        with e.loop(values[1]) as turn:
            # What changes from turn to turn can't be computed once.
            x = builder.bitcast(e.splat(builder.trunc(turn, I32)), BYTES)
            for total in sums:
                total.set(e.dot4(total.get(), x, x, largest=127))
        result = sums[0].get()
        for total in sums[1:]:
            result = builder.xor(result, total.get())
        return e.total(result)

    return types.int32(instruction_set, types.int64), generate


@kernel()
def dots(result, turns):
    """`turns` times MULTIPLY_ADDS_A_TURN products of bytes; the outcome goes to an address."""
    ints_at(result, (1,))[0] = _emit_dots(_INSTRUCTION_SET, turns)
