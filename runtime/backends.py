"""Which module computes the ops. All backends have the names and signatures of the reference."""

import importlib
from dataclasses import dataclass
from types import ModuleType

from slipstream.runtime.errors import OptionError

__all__ = ["BACKENDS", "Backend", "load_backend"]

# Imported on first use, so that an absent optional package costs nothing and breaks nothing.
BACKENDS = {
    "numba": "slipstream.cpu_kernels.compiled",
    "reference": "slipstream.cpu_kernels.reference",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend in use and why it was chosen; `ops` has the functions."""

    name: str
    ops: ModuleType
    reason: str


def load_backend(name: str = "auto") -> Backend:
    """The backend with this name; "auto" takes the fastest and records why.

    Raises OptionError for an unknown name or when a backend that was asked for can't be imported.
    """
    if name == "auto":
        chosen, reason = "numba", "compiled kernels for this CPU; no GPU backend in this version"
    elif name in BACKENDS:
        chosen, reason = name, "asked for"
    else:
        raise OptionError(f"backend: expected one of auto, {', '.join(BACKENDS)}; got {name!r}")
    try:
        ops = importlib.import_module(BACKENDS[chosen])
    except ImportError as error:
        raise OptionError(f"backend {chosen!r} can't be imported: {error}") from error
    return Backend(name=chosen, ops=ops, reason=reason)
