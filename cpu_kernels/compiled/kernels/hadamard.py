"""The Walsh-Hadamard transform of blocks of 32 numbers."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS
from slipstream.cpu_kernels.compiled.kernels.vector import LANES, Emitter, F32x16, I32x16
from slipstream.cpu_kernels.kv_pages import KV_BLOCK_DIMENSIONS


@intrinsic
def hadamard(_context, numbers, num_blocks, factor):
    """factor * H x in place, for each 32 numbers, as `slipstream.cpu_kernels.reference.kv_blocks`.

    numbers : address of (32 num_blocks,) float32
    factor  : float32
    """

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        numbers, num_blocks, factor = values
        e = Emitter(builder, INSTRUCTION_SETS["plain"])
        factors = e.splat(factor)
        with e.loop(num_blocks) as b:
            block = e.address(numbers, e.times(b, 4 * KV_BLOCK_DIMENSIONS))
            places = [block, e.address(block, 4 * LANES)]
            first, second = (e.load(F32x16, at) for at in places)
            halves = [builder.fadd(first, second), builder.fsub(first, second)]
            for half, at in zip(halves, places, strict=True):
                for apart in (8, 4, 2, 1):
                    half = _sums_and_differences(e, half, apart)
                e.store(e.mul(half, factors), at)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), generate


def _sums_and_differences(e: Emitter, vector: ir.Value, apart: int) -> ir.Value:
    """Of each two lanes that are `apart`: their sum in the first, first - second in the second."""
    partners = ir.Constant(I32x16, [lane ^ apart for lane in range(LANES)])
    undefined = ir.Constant(F32x16, ir.Undefined)
    others = e.builder.shuffle_vector(vector, undefined, partners)
    signs = ir.Constant(F32x16, [-1.0 if lane & apart else 1.0 for lane in range(LANES)])
    return e.fma(vector, signs, others)
