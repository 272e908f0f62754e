"""Which module computes the ops. All backends have the names and signatures of the reference."""

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from slipstream.runtime.errors import OptionError

# Imported on first use, so that an absent optional package costs nothing and breaks nothing.
BACKENDS = {
    "numba": "slipstream.cpu_kernels.compiled",
    "reference": "slipstream.cpu_kernels.reference",
    "triton": "slipstream.gpu_kernels",
}

_COMPUTE_LOCKS: dict[str, threading.Lock] = {}  # by device
if hasattr(os, "register_at_fork"):  # else a child would wait for a step that nobody runs there
    os.register_at_fork(after_in_child=_COMPUTE_LOCKS.clear)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend in use and why it was chosen; `ops` has the functions.

    device : that computes them; those of another device may compute at the same time
    """

    name: str
    device: str
    ops: ModuleType
    reason: str

    def of_layer(self, layer_id: int) -> "Backend":
        """Itself: one backend computes all layers. `LayerDevices` shares them out."""
        return self

    @property
    def of_head(self) -> "Backend":
        return self

    @property
    def backends(self) -> tuple["Backend", ...]:
        """All that compute a part of the model."""
        return (self,)

    @contextmanager
    def computing(self, num_threads: int) -> Iterator[None]:
        """Compute with all these threads; the models on one device take turns."""
        with _COMPUTE_LOCKS.setdefault(self.device, threading.Lock()):
            self.ops.set_num_threads(num_threads)
            yield


def load_backend(name: str = "auto") -> Backend:
    """The backend with this name; "auto" takes the fastest and records why.

    Raises OptionError for an unknown name or when a backend that was asked for can't be imported.
    """
    if name == "auto":
        chosen = "numba"
    elif name in BACKENDS:
        chosen = name
    else:
        raise OptionError(f"backend: expected one of auto, {', '.join(BACKENDS)}; got {name!r}")
    try:
        ops = importlib.import_module(BACKENDS[chosen])
    except (ImportError, ValueError) as error:
        raise OptionError(f"backend {chosen!r} can't be imported: {error}") from error
    reason = "asked for"
    if name == "auto":
        instructions = ops.chosen_instruction_set()
        reason = f"kernels compiled for this CPU ({instructions})"
    return Backend(name=chosen, device=ops.DEVICE, ops=ops, reason=reason)
