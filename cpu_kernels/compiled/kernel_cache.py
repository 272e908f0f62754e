"""Where compiled kernels are kept, so that each is compiled once on a machine.

The folder's name tells what its code was made from and for: the kernels' text, the compiler, the
CPU and the instruction set. An edit or an upgrade that changes a kernel starts a fresh folder.
"""

import functools
import os
import tempfile
import warnings
import zlib
from pathlib import Path

import llvmlite

from slipstream.cpu_kernels.cache_folder import cache_folder
from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set
from slipstream.cpu_kernels.host_cpu import host_identity

_CHECKSUM_BYTES = 4


@functools.cache
def kernel_cache_dir() -> Path | None:
    """Folder for compiled kernels; None when it can't be written, which is said once.

    `SLIPSTREAM_CACHE` names another cache folder than the user's own. Raises ImportError when that
    one can't be written, since the kernels of this package can't be had as the user asked.
    """
    named = os.environ.get("SLIPSTREAM_CACHE")
    folder = cache_folder() / "kernels" / _folder_name()
    if folder.is_dir() and not os.access(folder, os.W_OK):
        return folder  # filled by somebody who could: a read-only installation
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if named:
            raise ImportError(
                f"SLIPSTREAM_CACHE names {named}, where compiled kernels can't be written "
                f"({error.strerror}); name a folder that can be, or unset it"
            ) from error
        _warn(
            f"can't write compiled kernels to {folder} ({error.strerror}): they will be compiled "
            "again at every start; set SLIPSTREAM_CACHE to a folder that can be written"
        )
        return None
    return folder


def read_code(name: str) -> bytes | None:
    """The machine code kept as `name`; None when there is none, or a damaged one."""
    folder = kernel_cache_dir()
    if folder is None:
        return None
    try:
        kept = (folder / f"{name}.code").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(f"a compiled kernel can't be read ({error.strerror}); it is compiled again")
        return None
    checksum, code = kept[:_CHECKSUM_BYTES], kept[_CHECKSUM_BYTES:]
    if _checksum(code) == checksum:
        return code
    _warn(f"the compiled kernel {name} is damaged; it is compiled again")
    return None


def write_code(name: str, code: bytes) -> None:
    """Keep machine code as `name`; a disk that is full or can't be written is only told."""
    folder = kernel_cache_dir()
    if folder is None:
        return
    unfinished = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            unfinished = Path(file.name)
            file.write(_checksum(code) + code)
        unfinished.chmod(0o644)  # for whoever shares the folder
        unfinished.replace(folder / f"{name}.code")
    except OSError as error:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        _warn(
            f"can't keep compiled kernels in {folder} ({error.strerror}): they will be compiled "
            "again at the next start; make room, or set SLIPSTREAM_CACHE to a folder on another "
            "disk"
        )


def _checksum(code: bytes) -> bytes:
    """Tells a file that was cut off or damaged; who may write here may run code anyway."""
    return zlib.crc32(code).to_bytes(_CHECKSUM_BYTES, "little")


def _folder_name() -> str:
    """A checksum and the length of the text, the CPU, the instruction set, the compiler's version.

    What hashes better costs a start 4 MB and 10 ms to load.
    """
    package = Path(__file__).parent.parent
    sources = (*sorted(package.glob("*.py")), *sorted(package.glob("compiled/**/*.py")))
    text = b"".join([host_identity().encode(), *(source.read_bytes() for source in sources)])
    made_from = f"{zlib.crc32(text):08x}{len(text):06x}"
    # Each release of Numba goes with one of llvmlite, which is quicker to ask.
    return f"{made_from}-{chosen_instruction_set()}-llvmlite{llvmlite.__version__}"


@functools.cache
def _warn(message: str) -> None:
    """Warn once."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)
