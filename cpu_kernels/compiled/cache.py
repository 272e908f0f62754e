"""Where compiled kernels are kept, so that each is compiled once on a machine.

Numba keys its cache by source file, signature, CPU name and features. What it can't see is that a
kernel's text comes from other files (the emitter, the formats), so the folder's name has a hash of
all of them: an edit or an upgrade that changes a kernel starts a fresh folder.
"""

import functools
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config
from platformdirs import user_cache_dir

Function = TypeVar("Function", bound=Callable[..., Any])


@functools.cache
def kernel_cache_dir() -> Path | None:
    """Folder for compiled kernels; None when it can't be written, which is said once.

    `SLIPSTREAM_CACHE` names another cache folder than the user's own. Raises ImportError when that
    one can't be written, since the kernels of this package can't be had as the user asked.
    """
    named = os.environ.get("SLIPSTREAM_CACHE")
    root = Path(named or user_cache_dir("slipstream"))
    folder = root / "kernels" / f"{_source_hash()}-numba{numba.__version__}"
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
    for source in (*sorted(here.glob("*.py")), here.parent / "quant_types.py"):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def kernel(**options: Any) -> Callable[[Function], Any]:
    """Compile a function with the GIL released and its machine code kept on disk."""
    return _cached(lambda cache: numba.njit(nogil=True, cache=cache, **options))


def c_kernel(signature: Any) -> Callable[[Function], Any]:
    """Compile a function now, to be called by address; its machine code is kept on disk."""
    return _cached(lambda cache: numba.cfunc(signature, cache=cache))


def _cached(decorator: Callable[[bool], Callable[[Function], Any]]) -> Callable[[Function], Any]:
    def decorate(function: Function) -> Any:
        folder = kernel_cache_dir()
        if folder is None:
            return decorator(False)(function)
        previous = config.CACHE_DIR
        config.CACHE_DIR = str(folder)  # read while decorating, so other users keep their own
        try:
            return decorator(True)(function)
        finally:
            config.CACHE_DIR = previous

    return decorate
