"""Turns the functions of this package into machine code that stands alone."""

import inspect
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core.compiler_lock import global_compiler_lock

_WORD = ir.IntType(64)


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called from compiled code, without Numba's runtime.

    So it makes no arrays of its own, raises nothing, and its code needs nothing but the C library.
    Nor may Python call it: the wrappers for that took a tenth of the time of compiling.
    """
    return numba.njit(
        nogil=True,
        error_model="numpy",
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        **options,
    )


@global_compiler_lock  # type: ignore[untyped-decorator]
def compile_object(function: Any, symbol: str) -> bytes:
    """An object file in which `symbol` is int32 (int64, ...): the function with int64 arguments.

    function : made by `kernel`
    """
    num_arguments = len(inspect.signature(function.py_func).parameters)
    signature = (types.int64,) * num_arguments
    function.compile(signature)
    compiled = function.overloads[signature]
    context = compiled.target_context
    library = context.codegen().create_library(symbol)
    library.enable_object_caching()
    module = library.create_ir_module(symbol)
    kind = ir.FunctionType(ir.IntType(32), [_WORD] * num_arguments)
    entry = ir.Function(module, kind, symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    status, _ = context.call_conv.call_function(
        builder,
        context.declare_function(module, compiled.fndesc),
        compiled.signature.return_type,
        compiled.signature.args,
        entry.args,
    )
    builder.ret(status.code)
    library.add_ir_module(module)
    library.add_linking_library(compiled.library)
    library.finalize()
    _name, _kind, (machine_code, _bitcode) = library.serialize_using_object_code()
    return bytes(machine_code)
