"""The machine code of the matrix product's inner loops, for this host and for others."""

import re

import pytest
from llvmlite import binding, ir

from slipstream.cpu_kernels import QuantType
from slipstream.cpu_kernels.compiled.instruction_set import INSTRUCTION_SETS, chosen_instruction_set
from slipstream.cpu_kernels.compiled.kernels.matmul_tile import write_tile
from slipstream.cpu_kernels.compiled.kernels.vector import Emitter
from slipstream.cpu_kernels.compiled.packed_rows import TILE_ROWS

QUANTISED = [each for each in QuantType if each.block_columns > 1]
# What an instruction set's dot product is called in assembly, and a CPU that has it.
DOT = {
    "avx512_vnni": ("vpdpbusd", "x86_64-linux-gnu", "znver4"),
    "avx_vnni": ("vpdpbusd", "x86_64-linux-gnu", "alderlake"),
    "avx2": ("vpmaddubsw", "x86_64-linux-gnu", "haswell"),
    "neon_dot": ("sdot", "aarch64-linux-gnu", "neoverse-n1"),
}
CALL = re.compile(r"^\s*(call|callq|bl|blr)\s", re.MULTILINE)


def assembly(quant_type: QuantType, num_rows: int, name: str, triple: str, cpu: str) -> str:
    """The tile kernel alone, compiled for a CPU."""
    word = ir.IntType(64)
    module = ir.Module()
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word] * 8), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    write_tile(Emitter(builder, INSTRUCTION_SETS[name]), quant_type, num_rows, *function.args)
    builder.ret_void()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    compiled = binding.parse_assembly(str(module))
    compiled.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    binding.create_pass_builder(machine, options).getModulePassManager().run(
        compiled, binding.create_pass_builder(machine, options)
    )
    return machine.emit_assembly(compiled)


@pytest.mark.parametrize("quant_type", QUANTISED, ids=lambda each: each.name)
@pytest.mark.parametrize("name", DOT)
def test_the_inner_loop_is_dot_products_without_a_call(name: str, quant_type: QuantType) -> None:
    """Each of the 8 words of a block and row takes one instruction; nothing is called."""
    instruction, triple, cpu = DOT[name]
    for num_rows in (1, TILE_ROWS[0]) if name == chosen_instruction_set() else (2,):
        text = assembly(quant_type, num_rows, name, triple, cpu)
        assert not CALL.search(text), (name, quant_type, num_rows)
        vector_bytes = {"avx512_vnni": 64, "neon_dot": 16}.get(name, 32)
        assert text.count(instruction) >= 8 * num_rows * 64 // vector_bytes


def test_this_host_runs_one_that_is_looked_at() -> None:
    assert chosen_instruction_set() in {*DOT, "plain"}
