"""Objects linked into code that can stand anywhere, and what is not linked."""

import ctypes
import platform
import sys
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels.compiled.kernels.addresses import words_at
from slipstream.cpu_kernels.compiled.kernels.compiler import compile_object, kernel
from slipstream.cpu_kernels.compiled.kernels.linking import link
from slipstream.cpu_kernels.compiled.kernels.scratch import borrow
from slipstream.cpu_kernels.compiled.machine_code import MachineCode

TABLE = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int64)  # a constant: an address in the code
SYMBOL = "entry"
MACHINE_AT = 18  # in an ELF header

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="LLVM loads this host's"
)


@kernel()
def _borrow_and_look_up(scratch: Any, out: Any) -> None:
    """Calls the C library (malloc, free) and reads a table."""
    copy = words_at(borrow(scratch, 8 * TABLE.shape[0]), (TABLE.shape[0],))
    words = words_at(out, (TABLE.shape[0],))
    for i in range(TABLE.shape[0]):
        copy[i] = TABLE[i] * 10
    for i in range(TABLE.shape[0]):
        words[i] = copy[words[i]]


@pytest.fixture(scope="module")
def object_file() -> bytes:
    return compile_object(_borrow_and_look_up, SYMBOL)


@pytest.fixture(scope="module")
def code(object_file: bytes) -> MachineCode:
    linked = link(object_file, SYMBOL)
    assert linked is not None
    return linked


def run(code: MachineCode, indices: list[int]) -> list[int]:
    address, memory = code.place()
    words, scratch = np.array(indices, np.int64), np.zeros(2, np.int64)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)(address)
    assert function(scratch.ctypes.data, words.ctypes.data) == 0
    assert memory is not None  # it owned the code until here
    return words.tolist()


def test_linked_code_finds_its_constants_and_the_c_library(code: MachineCode) -> None:
    assert {name for _, name in code.library_addresses} >= {"malloc", "free"}
    indices = [7, 6, 5, 4, 3, 2, 1, 0]
    assert run(code, indices) == [int(TABLE[i]) * 10 for i in indices]


def test_code_is_the_same_after_it_was_stored(code: MachineCode) -> None:
    stored = MachineCode.from_bytes(code.to_bytes())
    assert stored == code
    assert run(stored, list(range(8))) == (TABLE * 10).tolist()


def test_other_objects_are_left_to_llvm(object_file: bytes) -> None:
    assert link(b"MZ" + object_file[2:], SYMBOL) is None
    aarch64 = object_file[:MACHINE_AT] + b"\xb7\0" + object_file[MACHINE_AT + 2 :]
    assert link(aarch64, SYMBOL) is None


@pytest.mark.parametrize("kinds", [(-1, 24), (24, 1)])
def test_a_relocation_that_is_not_known_is_not_guessed(
    object_file: bytes, kinds: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a distance to a function of the library, which lies who knows where."""
    for name, kind in zip(("_ADDRESS_64", "_DISTANCE_64"), kinds, strict=True):
        monkeypatch.setattr(sys.modules[link.__module__], name, kind)
    with pytest.raises(ValueError, match="unknown relocation"):
        link(object_file, SYMBOL)
