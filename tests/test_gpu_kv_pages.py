"""Pages of keys and values on the device, against those of the CPU."""

from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import KVPages as HostPages
from slipstream.cpu_kernels import ShapeError
from support.op_backends import load_ops
from support.stored_keys import DTYPES, QUANTISED, arrays_of, store, unreadable_pages

pytestmark = pytest.mark.gpu
PAGES, PAGE = 6, 16


def filled(dtype: str) -> HostPages:
    """Random keys and values at every place."""
    pages = unreadable_pages(
        num_pages=PAGES, num_heads=3, head_size=64, page_size=PAGE, dtype=dtype
    )
    index = np.arange(PAGES * PAGE)
    shape = (2, len(index), 3, 64)
    keys, values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    store(pages, keys, values, index // PAGE, index % PAGE)
    return pages


def gpu_kernels() -> Any:
    load_ops("triton")  # skips where there is neither a GPU nor the interpreter
    from slipstream import gpu_kernels

    return gpu_kernels


def assert_same(device: Any, host: HostPages) -> None:
    to_host = gpu_kernels().to_host
    for name, array in arrays_of(host).items():
        np.testing.assert_array_equal(to_host(getattr(device, name)).view(array.dtype), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_host_copies(dtype: str) -> None:
    host = filled(dtype)
    device = gpu_kernels().KVPages.from_host(host)
    assert_same(device, host)
    for name in ("dtype", "bits", "quantised", "num_heads", "page_size", "head_size"):
        assert getattr(device, name) == getattr(host, name)
    assert device.num_bytes == sum(array.nbytes for array in arrays_of(host).values())
    before = filled(dtype)
    host.copy_pages([0], [1])
    assert_same(device, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_copy_pages_is_as_on_the_cpu(dtype: str) -> None:
    host = filled(dtype)
    device = gpu_kernels().KVPages.from_host(host)
    for source, target in (([1], [4]), ([0, 5], [3, 2]), ([0, 1], [1, 0]), ([], [])):
        host.copy_pages(source, target)
        device.copy_pages(source, target)
        assert_same(device, host)


@pytest.mark.parametrize("dtype", DTYPES)
def test_move_is_as_on_the_cpu(dtype: str) -> None:
    """Also where places are read that the same call writes, as when a tree's path moves up."""
    host = filled(dtype)
    device = gpu_kernels().KVPages.from_host(host)
    for source, target in (
        ([(2, 5)], [(0, 0)]),
        ([(1, 3), (1, 4), (4, 0)], [(1, 2), (1, 3), (1, 4)]),
        ([(0, 15), (3, 0)], [(5, 0), (0, 15)]),
    ):
        places = [
            tuple(np.array(ids) for ids in zip(*each, strict=True)) for each in (source, target)
        ]
        host.move(*places)
        device.move(*places)
        assert_same(device, host)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_has_the_shapes_of_the_cpu(dtype: str) -> None:
    sizes = {"num_pages": 2, "num_heads": 3, "head_size": 64, "page_size": PAGE, "dtype": dtype}
    device, host = gpu_kernels().KVPages.empty(**sizes), HostPages.empty(**sizes)
    for name, array in arrays_of(host).items():
        assert tuple(getattr(device, name).shape) == array.shape
    with pytest.raises(ShapeError):
        gpu_kernels().KVPages.empty(**{**sizes, "dtype": "float64"})


@pytest.mark.parametrize("dtype", QUANTISED)
def test_wrong_tensors_are_refused(dtype: str) -> None:
    KVPages = gpu_kernels().KVPages
    pages = KVPages.from_host(filled(dtype))
    arrays = {name: getattr(pages, name) for name in arrays_of(filled(dtype))}
    for wrong in (
        {"key_scales": None},
        {"keys": arrays["keys"].float()},
        {"values": arrays["values"][:, :, ::2]},
        {"value_scales": arrays["value_scales"][:1]},
    ):
        with pytest.raises(ShapeError):
            KVPages(**{**arrays, **wrong})
