"""The compiled kernels, loaded from the cache or compiled when they are missing there.

Loading takes a thousandth of a second and needs no compiler: Numba, which takes longer to import
than a small model to load, is imported only to compile.
"""

import ctypes
import importlib
import os
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from llvmlite import binding

from slipstream.cpu_kernels.compiled.kernel_cache import read_object, write_object

_SYMBOL = "slipstream_kernel"
_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # else a child would wait for a compilation that nobody does
    os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Machine code.

    call : with two int64 arguments, for kernels that have as many; releases the GIL, returns 0
    """

    address: int
    call: Any
    engine: Any = field(repr=False)  # owns the code


def load_kernel(name: str, *key: str | int) -> Kernel:
    """The kernel `module.function` of `slipstream.cpu_kernels.compiled.kernels`.

    key : arguments of the function where it makes kernels (`matmul_tile.tile`, `repack.repack`);
          none where it is one
    """
    with _lock:
        return _load(name, *key)


@cache
def _load(name: str, *key: str | int) -> Kernel:
    file_name = "-".join([name, *map(str, key)])
    code = read_object(file_name)
    if code is None:
        code = _compile(name, *key)
        write_object(file_name, code)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(_SYMBOL)
    return Kernel(address=address, call=_PROTOTYPE(address), engine=engine)


def _compile(name: str, *key: str | int) -> bytes:
    from slipstream.cpu_kernels.compiled.kernels.compiler import compile_object

    module, function = name.split(".")
    text = getattr(importlib.import_module(f"{__package__}.kernels.{module}"), function)
    code: bytes = compile_object(text(*key) if key else text, _SYMBOL)
    return code


def _target_machine() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(jit=True, codemodel="jitdefault")
