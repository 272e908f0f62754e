"""The backends that are compared with the reference."""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import TypeVar

import pytest

from slipstream.runtime.backends import BACKENDS, load_backend
from slipstream.runtime.errors import OptionError

T = TypeVar("T")

CPU_BACKENDS = tuple(name for name in BACKENDS if name not in ("reference", "triton"))
# On a GPU, or with TRITON_INTERPRET=1 on the CPU.
OTHER_BACKENDS = (*CPU_BACKENDS, pytest.param("triton", marks=pytest.mark.gpu))


def load_ops(name: str) -> ModuleType:
    """The ops of a backend; skips the test, saying why, where it can't be imported."""
    if name == "triton":
        return _gpu_ops()
    try:
        return load_backend(name).ops
    except OptionError as error:
        pytest.skip(str(error))


def _gpu_ops() -> ModuleType:
    for package in ("torch", "triton"):
        pytest.importorskip(package, reason=f"{package} is not installed: it is in slipstream[gpu]")
    from slipstream.gpu_kernels.device import NoDeviceError

    try:
        from support import numpy_ops
    except NoDeviceError as error:
        pytest.skip(str(error))
    return numpy_ops


def few_if_interpreted(backend: str, cases: Sequence[T], few: Sequence[T]) -> Sequence[T]:
    """`few` of the cases where each operation of a kernel is a call in Python, else all."""
    interpreted = backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    return few if interpreted else cases
