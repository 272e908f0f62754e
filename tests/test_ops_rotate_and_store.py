"""Head norms, rotation and storing, of every backend, against the reference and its docstring."""

from dataclasses import replace

import numpy as np
import pytest

from slipstream.cpu_kernels import RmsNorm, ShapeError, reference
from slipstream.cpu_kernels.reference.attention import read_pages
from support.op_backends import (
    OTHER_BACKENDS,
    few_if_interpreted,
    load_ops,
)
from support.op_tolerances import LIMITS, assert_close, assert_pages_close
from support.stored_keys import DTYPES, QUANTISED, copied
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
ROW_COUNTS = (0, 1, 2, 3, 7, 8, 9, 64)
SIZES = [(2, 1), (16, 8), (40, 20), (64, 32), (64, 16), (128, 24), (256, 128)]
BLOCK_SIZES = [(32, 16), (32, 5), (64, 32), (64, 16), (128, 24), (256, 128)]
KINDS = [
    *(("float16", *size) for size in SIZES),
    *((dtype, *size) for dtype in QUANTISED for size in BLOCK_SIZES),
]


def some_norm(head_size: int, seed: int) -> RmsNorm:
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, head_size)
    return RmsNorm(weight=weight.astype(np.float32), eps=1e-6)


@pytest.mark.parametrize("norms", ["none", "queries", "keys", "both"])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("dtype", "head_size", "half"), KINDS)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_agrees_with_the_reference(
    backend: str, dtype: str, head_size: int, half: int, interleaved: bool, norms: str
) -> None:
    ops = load_ops(backend)
    (rows,) = few_if_interpreted(backend, (64,), (5,))
    step = make_step(
        rows,
        head_size,
        half,
        interleaved=interleaved,
        query_norm=some_norm(head_size, 1) if norms in ("queries", "both") else None,
        key_norm=some_norm(head_size, 2) if norms in ("keys", "both") else None,
    )
    limit = LIMITS["rotate_and_store" if norms == "none" else "rotate_and_store_normed"]
    pages, want_pages = zero_pages(dtype, head_size), zero_pages(dtype, head_size)
    want, whole = step.run(reference, want_pages), step.run(ops, pages)
    assert_close(whole, want, limit)
    assert_pages_close(pages, want_pages, limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_row_has_the_same_bits_in_any_company(
    backend: str, interleaved: bool, dtype: str
) -> None:
    ops = load_ops(backend)
    norms = {"query_norm": some_norm(64, 1), "key_norm": some_norm(64, 2)}
    row_counts = few_if_interpreted(backend, ROW_COUNTS, (0, 1, 9))
    step = make_step(max(row_counts), 64, 24, interleaved=interleaved, **norms)
    given = step.qkv.copy()
    whole = step.run(ops, new_pages(dtype, 64))
    np.testing.assert_array_equal(step.qkv, given)
    for rows in row_counts:
        part, together, alone = step.first(rows), new_pages(dtype, 64), new_pages(dtype, 64)
        np.testing.assert_array_equal(part.run(ops, together), whole[:rows])
        for row in range(rows):
            replace(
                part,
                qkv=part.qkv[row : row + 1],
                cos=part.cos[row : row + 1],
                sin=part.sin[row : row + 1],
                page_ids=part.page_ids[row : row + 1],
                offsets=part.offsets[row : row + 1],
            ).run(ops, alone)
        assert_same_bits(together, alone)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_dimensions_past_the_rotated_ones_and_values_stay(backend: str, interleaved: bool) -> None:
    step = make_step(20, 64, 16, interleaved=interleaved)
    pages = new_pages("float16", 64)
    out = step.run(load_ops(backend), pages)
    heads = step.qkv.reshape(20, -1, 64)
    keys, values = heads[:, NUM_HEADS:-NUM_KV_HEADS], heads[:, -NUM_KV_HEADS:]
    np.testing.assert_array_equal(out[..., 32:], heads[:, :NUM_HEADS, 32:])
    stored = pages.keys[step.page_ids, :, :, step.offsets]
    np.testing.assert_array_equal(stored[..., 32:], keys[..., 32:].astype(np.float16))
    stored = pages.values[step.page_ids, :, step.offsets]
    np.testing.assert_array_equal(stored, values.astype(np.float16))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_it_pairs_what_the_docstring_says(backend: str) -> None:
    """A quarter turn takes each pair (a, b) to (-b, a), of queries and keys, not of values."""
    numbers = np.arange(1, 7, dtype=np.float32)
    step = as_it_is(np.concatenate([numbers, 10 * numbers, 100 * numbers])[None], [4], [9])
    step = replace(step, cos=np.zeros((1, 2), np.float32), sin=np.ones((1, 2), np.float32))
    for interleaved, want in ((False, [-3, -4, 1, 2, 5, 6]), (True, [-2, 1, -4, 3, 5, 6])):
        pages = new_pages("float16", 6, num_heads=1)
        turned = replace(step, options={"interleaved": interleaved})
        out = turned.run(load_ops(backend), pages, num_heads=1)
        assert out.ravel().tolist() == want
        assert pages.keys[4, 0, :, 9].tolist() == [10 * each for each in want]
        assert pages.values[4, 0, 9].tolist() == (100 * numbers).tolist()


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_float16_rounds_to_nearest_even_and_touches_nothing_else(backend: str) -> None:
    """Nearest even, subnormals kept, beyond 65,504 infinity, as IEEE 754 has it."""
    rng = np.random.default_rng(0)
    shape = (5, NUM_KV_HEADS, 40)
    keys = (rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 5, shape)).astype(np.float32)
    keys[0, 0, :10] = [
        0.0, -0.0, 65504.0, 65519.0, 65520.0, -1e30, 2**-24, 2**-25, 1 + 2**-11, 1 + 3 * 2**-11
    ]  # fmt: skip
    values = keys[::-1].copy()
    queries = np.zeros((5, NUM_HEADS, 40), np.float32)
    qkv = np.concatenate([queries, keys, values], axis=1).reshape(5, -1)
    step = as_it_is(qkv, [3, 0, 3, 1, 1], [0, 15, 1, 7, 8])
    pages = new_pages("float16", 40)
    for array in (pages.keys, pages.values):
        array[...] = rng.standard_normal(array.shape)
    want = copied(pages)
    with np.errstate(over="ignore"):
        want.keys[step.page_ids, :, :, step.offsets] = keys.astype(np.float16)
        want.values[step.page_ids, :, step.offsets] = values.astype(np.float16)
    step.run(load_ops(backend), pages)
    np.testing.assert_array_equal(pages.keys, want.keys)  # a rotation may take -0 to 0
    np.testing.assert_array_equal(pages.values.view(np.uint16), want.values.view(np.uint16))
    assert np.isinf(pages.keys[3, 0, 4, 0])
    assert pages.keys[3, 0, 3, 0] == 65504


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_broken_number_shows_where_it_is_read_and_nowhere_else(
    backend: str, dtype: str, poison: float
) -> None:
    """The number in float16, else its block: a model that overflows must not look sound."""
    ops = load_ops(backend)
    step = make_step(3, 64, 16)
    sound = zero_pages(dtype, 64)
    queries = step.run(ops, sound)
    before = read_pages(sound, step.page_ids, step.offsets)
    for head in (1, NUM_HEADS + 1, NUM_HEADS + NUM_KV_HEADS + 2):
        broken, pages = replace(step, qkv=step.qkv.copy()), zero_pages(dtype, 64)
        broken.qkv[1, head * 64 + 40] = poison
        with np.errstate(invalid="ignore"):
            out = broken.run(ops, pages)
            after = read_pages(pages, step.page_ids, step.offsets)
        got, want = (
            np.concatenate([q, *kv], axis=1) for q, kv in ((out, after), (queries, before))
        )
        hit = np.zeros(got.shape, bool)
        in_blocks = dtype in QUANTISED and head >= NUM_HEADS
        hit[1, head, slice(32, 64) if in_blocks else 40] = True
        assert np.isfinite(want).all()
        assert not np.isfinite(got[1, head, 40])
        if in_blocks:
            assert not np.isfinite(got[1, head, 32:]).any()
        np.testing.assert_array_equal(got[~hit], want[~hit])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_broken_number_breaks_the_whole_head_that_is_normed(backend: str) -> None:
    norms = {"query_norm": some_norm(64, 1), "key_norm": some_norm(64, 2)}
    step = make_step(3, 64, 16, **norms)
    for head in (1, NUM_HEADS + 1):
        step.qkv[1, head * 64 + 40] = np.nan
    pages = zero_pages("float16", 64)
    out = step.run(load_ops(backend), pages)
    keys, values = read_pages(pages, step.page_ids, step.offsets)
    for heads, broken in ((out, 1), (keys, 1)):
        assert np.isnan(heads[1, broken]).all()
        heads[1, broken] = 0
        assert np.isfinite(heads).all()
    assert np.isfinite(values).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_wrong_shapes_are_refused(backend: str, dtype: str) -> None:
    ops = load_ops(backend)
    step, pages = make_step(4, 32, 16), zero_pages(dtype, 32)
    before = copied(pages)
    norm = some_norm(31, 1)
    for wrong, name in (
        ({"qkv": step.qkv[:3]}, "page_ids"),
        ({"qkv": step.qkv[:, 32:].copy()}, "qkv"),
        ({"qkv": step.qkv.astype(np.float64)}, "float64"),
        ({"qkv": np.asfortranarray(step.qkv)}, "not C-contiguous"),
        ({"cos": step.cos[:3]}, "cos"),
        ({"cos": np.ones((4, 17), np.float32), "sin": np.ones((4, 17), np.float32)}, "cos"),
        ({"sin": step.sin[:, :15]}, "sin"),
        ({"page_ids": step.page_ids[:3]}, "page_ids"),
        ({"offsets": step.offsets[:3]}, "offsets"),
        ({"options": step.options | {"query_norm": norm}}, "query_norm"),
        ({"options": step.options | {"key_norm": norm}}, "key_norm"),
    ):
        with pytest.raises(ShapeError, match=name):
            replace(step, **wrong).run(ops, pages)
    with pytest.raises(ShapeError, match="qkv"):
        step.run(ops, pages, num_heads=NUM_HEADS + 1)
    short = make_step(3, 32, 16)
    out = np.zeros((4, NUM_HEADS, 64), np.float32)
    with pytest.raises(ShapeError, match="out"):
        ops.rotate_and_store(
            short.qkv,
            short.cos,
            short.sin,
            short.page_ids,
            short.offsets,
            interleaved=False,
            pages=pages,
            out=out,
        )
    assert_same_bits(pages, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pages_that_do_not_fit_together_are_refused(dtype: str) -> None:
    """By the check that backends share: compiled code would write wherever they lead it."""
    step, pages = make_step(4, 32, 16), zero_pages(dtype, 32)
    wrong = [
        {"keys": pages.keys[:, :, :2].copy()},
        {"keys": pages.keys[:3].copy()},
        {"keys": pages.keys.astype(np.float32)},
        {"values": pages.values.astype(np.float32)},
        {"values": np.asfortranarray(pages.values)},
    ]
    if pages.quantised:
        wrong += [
            {"key_scales": pages.key_scales[:3].copy()},
            {"value_scales": pages.value_scales[:, :1].copy()},
            {"value_scales": None},
        ]
    for arrays in wrong:
        with pytest.raises(ShapeError):
            step.run(reference, replace(pages, **arrays))
