"""Where compiled kernels are kept, so that each is compiled once on a machine.

Numba keys its cache by source file, signature, CPU name and features. What it can't see is that a
kernel's text comes from other files (the emitter, the formats), so the folder's name has a hash of
all of them: an edit or an upgrade that changes a kernel starts a fresh folder.
"""

import contextlib
import functools
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config, sigutils
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from platformdirs import user_cache_dir

from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set

Function = TypeVar("Function", bound=Callable[..., Any])


@functools.cache
def kernel_cache_dir() -> Path | None:
    """Folder for compiled kernels; None when it can't be written, which is said once.

    `SLIPSTREAM_CACHE` names another cache folder than the user's own. Raises ImportError when that
    one can't be written, since the kernels of this package can't be had as the user asked.
    """
    named = os.environ.get("SLIPSTREAM_CACHE")
    root = Path(named or user_cache_dir("slipstream"))
    name = f"{_source_hash()}-{chosen_instruction_set()}-numba{numba.__version__}"
    folder = root / "kernels" / name
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
        warnings.warn(
            f"can't write compiled kernels to {folder} ({error.strerror}): they will be compiled "
            "again at every start; set SLIPSTREAM_CACHE to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


def _source_hash() -> str:
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for source in (*sorted(here.glob("*.py")), *sorted(here.parent.glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def kernel(**options: Any) -> Callable[[Function], Any]:
    """Compile a function with the GIL released and its machine code kept on disk."""

    def decorate(function: Function) -> Any:
        compiled = numba.njit(nogil=True, **options)(function)
        compiled._cache = _cache_of(function, compiled._cache)
        return compiled

    return decorate


def c_kernel(signature: Any) -> Callable[[Function], Any]:
    """Compile a function now, to be called by address; its machine code is kept on disk."""

    def decorate(function: Function) -> Any:
        compiled = CFunc(function, sigutils.normalize_signature(signature), locals={}, options={})
        compiled._cache = _cache_of(function, compiled._cache)
        compiled.compile()
        return compiled

    return decorate


def _cache_of(function: Callable[..., Any], none: Any) -> Any:
    """The cache of a function; `none`, Numba's own stand-in, where there is no folder."""
    folder = kernel_cache_dir()
    if folder is None:
        return none
    previous = config.CACHE_DIR
    config.CACHE_DIR = str(folder)  # read while it is made, so other users of Numba keep theirs
    try:
        return _KernelCache(function)
    finally:
        config.CACHE_DIR = previous


class _KernelCache(FunctionCache):
    """Numba's cache, in which a damaged file is compiled again and a full disk is only told."""

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
        except Exception as error:  # whatever unpickling half a file may raise
            _tell(f"a compiled kernel can't be read ({error!r}); it is compiled again")
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError as error:
            _tell(
                f"can't keep compiled kernels in {self.cache_path} ({error.strerror}): they will "
                "be compiled again at the next start; make room, or set SLIPSTREAM_CACHE to a "
                "folder on another disk"
            )


@functools.cache
def _tell(message: str) -> None:
    """Warn once."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)
