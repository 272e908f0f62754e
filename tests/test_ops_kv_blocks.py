"""What int8 and int4 pages hold: blocks of 32 dimensions, as the reference documents them."""

from dataclasses import replace

import numpy as np
import pytest

from slipstream.cpu_kernels import ShapeError
from slipstream.cpu_kernels.kv_pages import FROM_PAGES, TO_PAGES
from slipstream.cpu_kernels.reference.attention import read_pages
from slipstream.cpu_kernels.reference.kv_blocks import hadamard
from support.op_backends import OTHER_BACKENDS, load_ops
from support.stored_keys import QUANTISED, arrays_of, copied
from support.storing_steps import (
    NUM_HEADS,
    NUM_KV_HEADS,
    as_it_is,
    assert_same_bits,
    make_step,
    new_pages,
    zero_pages,
)

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_int8_is_what_the_pages_say_and_touches_nothing_else(backend: str) -> None:
    """number = scale * int8, scale = max / 127, ties to even, keys in words of 4 dimensions."""
    ops = load_ops(backend)
    key = np.zeros((NUM_KV_HEADS, 64), np.float32)
    key[:, :32] = np.arange(-31, 33)[::2]
    key[:, 0] = -127.0  # scale 1
    key[:, 1:7] = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5]
    value = 2 * key[:, ::-1]
    queries = np.ones((NUM_HEADS, 64), np.float32)
    step = as_it_is(np.concatenate([queries, key, value]).reshape(1, -1), [2], [5])
    pages = new_pages("int8", 64)
    rng = np.random.default_rng(0)
    for array in arrays_of(pages).values():
        array.view(np.uint8)[...] = rng.integers(0, 256, array.view(np.uint8).shape)
    want = copied(pages)
    quants = np.rint(key).astype(int)
    assert quants[0, :7].tolist() == [-127, 0, 2, 2, 0, -2, 126]
    bytes_of_words = (quants + 128).reshape(NUM_KV_HEADS, 16, 4) << np.array([0, 8, 16, 24])
    want.keys[2, :, :, 5] = bytes_of_words.sum(axis=-1)
    want.values[2, :, 5] = quants[:, ::-1]
    want.key_scales[2, :, :, 5] = [1, 0]
    want.value_scales[2, :, 5] = [0, 2]
    step.run(ops, pages)
    assert_same_bits(pages, want)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_int4_is_what_the_pages_say_and_touches_nothing_else(backend: str) -> None:
    """y = H x / 8 = scale * int4, scale = extreme / -8, two numbers a byte, each plus 8."""
    ops = load_ops(backend)
    key = np.zeros((NUM_KV_HEADS, 64), np.float32)
    key[:, :32] = np.arange(-16, 16) / 4
    key[:, 3:10] = [-8.0, 0.5, 1.5, 2.5, -0.5, -1.5, 7.75]  # scale 1, and the last is cut
    value = -2 * key[:, ::-1]
    queries = np.ones((NUM_HEADS, 64), np.float32)
    heads = np.concatenate([queries, hadamard(key, FROM_PAGES), hadamard(value, FROM_PAGES)])
    step = as_it_is(heads.reshape(1, -1), [2], [5])
    pages = new_pages("int4", 64)
    rng = np.random.default_rng(0)
    for array in arrays_of(pages).values():
        array.view(np.uint8)[...] = rng.integers(0, 256, array.view(np.uint8).shape)
    want = copied(pages)
    quants = np.rint(key).clip(-8, 7).astype(int)
    assert quants[0, 3:10].tolist() == [-8, 0, 2, 2, 0, -2, 7]
    for_keys, for_values = (
        (each[:, :, 0] + 8) + ((each[:, :, 1] + 8) << 4)
        for each in (q.reshape(NUM_KV_HEADS, 2, 2, 16) for q in (quants, quants[:, ::-1]))
    )
    words = for_keys.reshape(NUM_KV_HEADS, 8, 4) << np.array([0, 8, 16, 24])
    want.keys[2, :, :, 5] = words.sum(axis=-1)
    want.values[2, :, 5] = for_values.reshape(NUM_KV_HEADS, 32)
    want.key_scales[2, :, :, 5] = [1, -0.0]
    want.value_scales[2, :, 5] = [-0.0, -2]
    step.run(ops, pages)
    assert_same_bits(pages, want)


def test_the_transform_is_its_own_inverse_and_spreads_an_outlier() -> None:
    """Of 32 numbers each, and the products of two transformed vectors are those of the vectors."""
    x, y = np.random.default_rng(0).standard_normal((2, 5, 96))
    back = hadamard(hadamard(x, TO_PAGES), FROM_PAGES)
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-14)
    products = (hadamard(x, TO_PAGES) * hadamard(y, FROM_PAGES)).sum(axis=1)
    np.testing.assert_allclose(products, (x * y).sum(axis=1), rtol=0, atol=1e-13)
    outlier = np.zeros(64)
    outlier[37] = 8.0
    assert np.abs(hadamard(outlier, TO_PAGES)).tolist() == [0.0] * 32 + [1.0] * 32
    assert np.sign(hadamard(np.eye(32), 1.0)).tolist() == [
        [(-1) ** (i & j).bit_count() for j in range(32)] for i in range(32)
    ]


@pytest.mark.parametrize("size", [1e-2, 1.0, 300.0])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_int4_gives_the_numbers_back_within_half_a_step(backend: str, size: float) -> None:
    """Where they are transformed; those beyond 7 steps on the side that ends there within one."""
    step = make_step(64, 64, 32)
    step = replace(step, qkv=step.qkv * np.float32(size), cos=step.cos * 0 + 1, sin=step.sin * 0)
    pages = new_pages("int4", 64)
    step.run(load_ops(backend), pages)
    heads = step.qkv.astype(np.float64).reshape(64, -1, 64)
    given = heads[:, NUM_HEADS:-NUM_KV_HEADS], heads[:, -NUM_KV_HEADS:]
    for got, want in zip(read_pages(pages, step.page_ids, step.offsets), given, strict=True):
        error = np.abs(hadamard(got - want, TO_PAGES))
        blocks = hadamard(want, TO_PAGES).reshape(64, NUM_KV_HEADS, 2, 32)
        extremes = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
        steps = (blocks / (extremes / -8)).reshape(want.shape)
        one = np.repeat(np.abs(extremes[..., 0]) / 8, 32, axis=-1)
        off = 8 * np.maximum(one * 2.0**-11, 2.0**-25)
        assert (error <= one * np.where(steps > 7.5, steps - 7, 0.5) * 1.001 + off).all()
        assert (np.abs(steps) > 7.9).any()


@pytest.mark.parametrize("size", [1e-2, 1.0, 300.0])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_int8_gives_the_numbers_back_within_half_a_step(backend: str, size: float) -> None:
    """Half a quant, and what rounding the scale to float16 adds to the largest."""
    step = make_step(64, 64, 32)
    step = replace(step, qkv=step.qkv * np.float32(size), cos=step.cos * 0 + 1, sin=step.sin * 0)
    pages = new_pages("int8", 64)
    step.run(load_ops(backend), pages)
    heads = step.qkv.astype(np.float64).reshape(64, -1, 64)
    given = heads[:, NUM_HEADS:-NUM_KV_HEADS], heads[:, -NUM_KV_HEADS:]
    for got, want in zip(read_pages(pages, step.page_ids, step.offsets), given, strict=True):
        blocks = np.abs(want).reshape(64, NUM_KV_HEADS, 2, 32).max(axis=-1)
        largest = np.repeat(blocks, 32, axis=-1)
        # A scale below 2**-14 has float16's least step, 2**-24, to be off by half of.
        off = 127 * np.maximum(largest / 127 * 2.0**-11, 2.0**-25)
        assert (np.abs(got - want) <= largest / 254 * 1.001 + off).all()


@pytest.mark.parametrize(("dtype", "steps"), [("int8", 127), ("int4", 64)])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_beyond_float16_a_scale_is_nan(backend: str, dtype: str, steps: int) -> None:
    """A number that stands out in its block is so many times the scale, in int4 with the sign."""
    qkv = np.zeros((1, 12 * 32), np.float32)
    qkv[0, 6 * 32 : 6 * 32 + 2] = [65519 * steps, 5]
    qkv[0, 9 * 32 : 9 * 32 + 2] = [65521 * steps, 5]
    pages = zero_pages(dtype, 32)
    as_it_is(qkv, [0], [0]).run(load_ops(backend), pages)
    assert pages.key_scales[0, 0, 0, 0] == (65504 if dtype == "int8" else -65504)
    assert np.isnan(pages.value_scales[0, 0, 0, 0])  # infinity might turn into a lost key


@pytest.mark.parametrize("dtype", QUANTISED)
def test_heads_that_are_not_whole_blocks_are_refused(dtype: str) -> None:
    for head_size in (16, 40, 65):
        with pytest.raises(ShapeError, match=f"multiple of 32 dimensions, got {head_size}"):
            new_pages(dtype, head_size)
