"""Machine code as it lies on disk and in memory."""

import ctypes
import json
import mmap
from dataclasses import asdict, dataclass
from typing import Self

_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCode:
    """Code and constants that can stand anywhere. Places are counted from the image's start.

    image             : all sections that are there at run time
    entry             : where the function begins
    own_addresses     : places of 64-bit addresses within the image, which lack where it stands
    library_addresses : places of 64-bit addresses of functions of the C library, and their names
    """

    image: bytes
    entry: int
    own_addresses: tuple[int, ...]
    library_addresses: tuple[tuple[int, str], ...]

    def to_bytes(self) -> bytes:
        """As `from_bytes` reads it."""
        places = json.dumps({k: v for k, v in asdict(self).items() if k != "image"}).encode()
        return len(places).to_bytes(_LENGTH_BYTES, "little") + places + self.image

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """What `to_bytes` made."""
        length = int.from_bytes(stored[:_LENGTH_BYTES], "little")
        places = json.loads(stored[_LENGTH_BYTES : _LENGTH_BYTES + length])
        return cls(
            image=stored[_LENGTH_BYTES + length :],
            entry=places["entry"],
            own_addresses=tuple(places["own_addresses"]),
            library_addresses=tuple((at, name) for at, name in places["library_addresses"]),
        )

    def place(self) -> tuple[int, mmap.mmap]:
        """Put it into memory: the entry's address, and what owns the memory.

        Raises OSError where the system lets no memory become executable.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        memory = mmap.mmap(-1, len(self.image), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory[:] = self.image
        view = ctypes.c_char.from_buffer(memory)
        base = ctypes.addressof(view)
        del view
        for at in self.own_addresses:
            value = int.from_bytes(memory[at : at + 8], "little", signed=True) + base
            memory[at : at + 8] = value.to_bytes(8, "little")
        for at, name in self.library_addresses:
            address = ctypes.cast(getattr(libc, name), ctypes.c_void_p).value or 0
            memory[at : at + 8] = address.to_bytes(8, "little")
        executable = mmap.PROT_READ | mmap.PROT_EXEC
        if libc.mprotect(ctypes.c_void_p(base), ctypes.c_size_t(len(memory)), executable):
            raise OSError(ctypes.get_errno(), "can't make kernels executable")
        return base + self.entry, memory
