"""Whole models on the GPU's kernels where no GPU is: Triton's interpreter, in fewer programs."""

import importlib
from dataclasses import replace
from typing import Any

import pytest

from slipstream.runtime.backends import Backend, load_backend

WIDE = 512  # rows of a weight that a program multiplies: the interpreter's time is its programs'


def gpu_backend(patch: pytest.MonkeyPatch) -> Backend:
    """The GPU's, or its stand-in; skips the test, saying why, where neither can be had.

    Interpreted, products take wide tiles, which make the same bits (tests/test_gpu_launch_shapes).
    """
    for package in ("torch", "triton"):
        pytest.importorskip(package, reason=f"{package} is not installed: it is in slipstream[gpu]")
    from slipstream.gpu_kernels.device import NoDeviceError

    try:
        from slipstream.gpu_kernels import compute_device
    except NoDeviceError as error:
        pytest.skip(str(error))
    if compute_device().type != "cuda":
        matmul = importlib.import_module("slipstream.gpu_kernels.matmul")
        patch.setattr(matmul, "launch_shape", _wide_shape)
    return load_backend("triton")


def _wide_shape(quant_type: Any, num_rows: int, *_: int) -> Any:
    from slipstream.gpu_kernels.launch_table import candidate_shapes

    return replace(candidate_shapes(quant_type, num_rows)[0], block_n=WIDE, unroll=1)
