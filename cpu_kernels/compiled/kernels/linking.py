"""Links an object file into machine code that needs no linker any more.

Numba's objects use 64-bit addresses throughout (LLVM's large code model), so two kinds of places
are left to fill in: addresses, and distances that are known once the sections stand side by side.
Source: System V ABI, AMD64 supplement, table 4.9 (relocation types).
"""

import os
from collections.abc import Callable, Mapping

import numpy as np

from slipstream.cpu_kernels.compiled.machine_code import MachineCode


def _layout(fields: str) -> np.dtype:
    """A record of little-endian fields, each `name:dtype`."""
    return np.dtype([tuple(field.split(":")) for field in fields.split()])


_HEADER = _layout(
    "ident:S16 kind:<u2 machine:<u2 version:<u4 entry:<u8 segments_at:<u8 sections_at:<u8 "
    "flags:<u4 header_bytes:<u2 segment_bytes:<u2 num_segments:<u2 section_bytes:<u2 "
    "num_sections:<u2 names_in:<u2"
)
_SECTION = _layout(
    "name:<u4 kind:<u4 flags:<u8 address:<u8 at:<u8 size:<u8 link:<u4 info:<u4 align:<u8 "
    "entry_size:<u8"
)
_SYMBOL = _layout("name:<u4 info:u1 other:u1 section:<u2 value:<u8 size:<u8")
_RELOCATION = _layout("at:<u8 kind:<u4 symbol:<u4 addend:<i8")
_X86_64 = 62
_SYMBOLS, _RELOCATIONS, _ALLOCATED = 2, 4, 2
_UNDEFINED = 0
_ADDRESS_64, _DISTANCE_64 = 1, 24


def link(object_file: bytes, symbol: str) -> MachineCode | None:
    """The code with `symbol` as its entry; None unless it is ELF for x86-64, for a POSIX system.

    Raises ValueError for a relocation that is not among those that Numba's objects have.
    """
    if os.name != "posix" or object_file[:6] != b"\x7fELF\x02\x01":
        return None
    header = np.frombuffer(object_file, _HEADER, 1)[0]
    if header["machine"] != _X86_64:
        return None
    sections = np.frombuffer(
        object_file, _SECTION, int(header["num_sections"]), int(header["sections_at"])
    )
    image, starts = _laid_out(object_file, sections)
    table = sections[sections["kind"] == _SYMBOLS][0]
    symbols = _entries(object_file, table, _SYMBOL)
    names = object_file[int(sections[table["link"]]["at"]) :]

    def name_of(one: np.void) -> str:
        return names[int(one["name"]) :].split(b"\0", 1)[0].decode()

    own, library = _resolve(object_file, sections, symbols, starts, image, name_of)
    entry = next(one for one in symbols if name_of(one) == symbol)
    return MachineCode(
        image=bytes(image),
        entry=starts[int(entry["section"])] + int(entry["value"]),
        own_addresses=own,
        library_addresses=library,
    )


def _resolve(
    object_file: bytes,
    sections: np.ndarray,
    symbols: np.ndarray,
    starts: Mapping[int, int],
    image: bytearray,
    name_of: Callable[[np.void], str],
) -> tuple[tuple[int, ...], tuple[tuple[int, str], ...]]:
    """Fill in what is known; returns the places of addresses that are not, see `MachineCode`."""
    own: list[int] = []
    library: list[tuple[int, str]] = []
    for section in sections[sections["kind"] == _RELOCATIONS]:
        start = starts.get(int(section["info"]))
        if start is None:  # of a section that is not there at run time
            continue
        for one in _entries(object_file, section, _RELOCATION):
            place, target = start + int(one["at"]), symbols[one["symbol"]]
            kind, addend = one["kind"], int(one["addend"])
            undefined = target["section"] == _UNDEFINED
            if kind not in (_ADDRESS_64, _DISTANCE_64) or (
                undefined and (kind != _ADDRESS_64 or addend)
            ):
                raise ValueError(f"linking: unknown relocation {kind} with addend {addend}")
            if undefined:
                library.append((place, name_of(target)))
                continue
            value = starts[int(target["section"])] + int(target["value"]) + addend
            if kind == _ADDRESS_64:
                own.append(place)
            else:
                value -= place
            image[place : place + 8] = value.to_bytes(8, "little", signed=True)
    return tuple(own), tuple(library)


def _laid_out(object_file: bytes, sections: np.ndarray) -> tuple[bytearray, dict[int, int]]:
    """The sections that are there at run time one after another, and where each begins."""
    image, starts = bytearray(), {}
    for index, section in enumerate(sections):
        if section["flags"] & _ALLOCATED and section["size"]:
            image += bytes(-len(image) % max(1, int(section["align"])))
            starts[index] = len(image)
            begin = int(section["at"])
            image += object_file[begin : begin + int(section["size"])]
    return image, starts


def _entries(object_file: bytes, section: np.void, kind: np.dtype) -> np.ndarray:
    return np.frombuffer(
        object_file, kind, int(section["size"]) // kind.itemsize, int(section["at"])
    )
