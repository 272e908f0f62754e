"""The compiled kernels, loaded from the cache or compiled when they are missing there.

Loading one takes some 50 microseconds and needs no compiler: Numba and LLVM, which take longer to
import than a small model to load, and 150 MB, are imported only to compile.
"""

import ctypes
import importlib
import os
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from slipstream.cpu_kernels.compiled.kernel_cache import read_code, write_code
from slipstream.cpu_kernels.compiled.machine_code import MachineCode

_SYMBOL = "slipstream_kernel"
_LINKED = b"linked"  # begins what `MachineCode` reads
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
    owner: Any = field(repr=False)  # of the memory


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
    stored = read_code(file_name)
    if stored is None:
        stored = _compile(name, *key)
        write_code(file_name, stored)
    if stored.startswith(_LINKED):
        address, owner = MachineCode.from_bytes(stored[len(_LINKED) :]).place()
    else:
        address, owner = _loaded_by_llvm(stored)
    return Kernel(address=address, call=_PROTOTYPE(address), owner=owner)


def _compile(name: str, *key: str | int) -> bytes:
    """Linked code where we can link, else an object file."""
    from slipstream.cpu_kernels.compiled.kernels.compiler import compile_object
    from slipstream.cpu_kernels.compiled.kernels.linking import link

    module, function = name.split(".")
    text = getattr(importlib.import_module(f"{__package__}.kernels.{module}"), function)
    object_file: bytes = compile_object(text(*key) if key else text, _SYMBOL)
    linked = link(object_file, _SYMBOL)
    return object_file if linked is None else _LINKED + linked.to_bytes()


def _loaded_by_llvm(object_file: bytes) -> tuple[int, Any]:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(jit=True, codemodel="jitdefault")
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(object_file))
    engine.finalize_object()
    return engine.get_function_address(_SYMBOL), engine
