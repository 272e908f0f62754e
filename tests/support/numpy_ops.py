"""GPU ops with the reference's signatures over NumPy arrays, so that the same tests hold them."""

import warnings
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from slipstream import gpu_kernels
from slipstream.cpu_kernels import KVPages, RmsNorm, Visibility
from support.stored_keys import arrays_of

DEVICE = gpu_kernels.DEVICE
Weight = gpu_kernels.Weight
dequantize = gpu_kernels.dequantize
pack_weight = gpu_kernels.pack_weight
stack_weights = gpu_kernels.stack_weights
weight_bytes = gpu_kernels.weight_bytes
prepare = gpu_kernels.prepare
set_num_threads = gpu_kernels.set_num_threads


def matmul(x: np.ndarray, weight: gpu_kernels.Weight, *, out: np.ndarray, **given: Any) -> Any:
    return _run(gpu_kernels.matmul, x, weight, out=out, **given)


def rms_norm(x: np.ndarray, norm: RmsNorm, *, out: np.ndarray, **given: Any) -> np.ndarray:
    return _run(gpu_kernels.rms_norm, x, norm, out=out, **given)


def blend_gated(*arrays: Any, out: np.ndarray) -> np.ndarray:
    return _run(gpu_kernels.blend_gated, *arrays, out=out)


def rotate_and_store(*arrays: np.ndarray, out: np.ndarray, **given: Any) -> np.ndarray:
    return _run(gpu_kernels.rotate_and_store, *arrays, out=out, **given)


def attention(*arrays: Any, out: np.ndarray, **given: Any) -> np.ndarray:
    return _run(gpu_kernels.attention, *arrays, out=out, **given)


def top_k(x: np.ndarray, k: int, *, ids: np.ndarray, out: np.ndarray) -> None:
    _run(gpu_kernels.top_k, x, k, ids=ids, out=out)


def _run(op: Callable[..., Any], *given: Any, out: np.ndarray, **named: Any) -> np.ndarray:
    """Call an op with all arrays on the device, and bring back what it may have written."""
    written = _moved(out)
    moved = [written if each is out else _moved(each) for each in given]  # in place too
    named_moved = {name: _moved(each) for name, each in named.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, where Triton interprets
        result = op(*moved, out=written, **named_moved)
    assert result is None or result is written
    for before, after in zip(given, moved, strict=True):
        if isinstance(before, np.ndarray) and before is not out:
            np.testing.assert_array_equal(gpu_kernels.to_host(after), before)  # inputs stay
    out[...] = gpu_kernels.to_host(written)
    if "ids" in named:
        named["ids"][...] = gpu_kernels.to_host(named_moved["ids"])
    if "pages" in named:
        for name, array in arrays_of(named["pages"]).items():
            array[...] = gpu_kernels.to_host(getattr(named_moved["pages"], name)).view(array.dtype)
    return out


def _moved(given: Any) -> Any:
    if isinstance(given, np.ndarray):
        return _tensor(given)
    if isinstance(given, RmsNorm):
        return RmsNorm(weight=_tensor(given.weight), eps=given.eps)
    if isinstance(given, KVPages):
        return gpu_kernels.KVPages.from_host(given)
    if isinstance(given, Visibility):
        arrays = {each.name: _tensor(getattr(given, each.name)) for each in fields(given)}
        return Visibility(**arrays)
    return given


def _tensor(array: np.ndarray) -> torch.Tensor:
    """On the device, and contiguous exactly where the array is."""
    if array.flags.c_contiguous:
        return gpu_kernels.from_host(array)
    return gpu_kernels.from_host(np.repeat(array, 2, axis=-1))[..., ::2]
