"""Attention of every backend against the reference."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from slipstream.cpu_kernels import KVPages, ShapeError, Visibility, reference
from slipstream.cpu_kernels.kv_pages import FROM_PAGES, TO_PAGES
from slipstream.cpu_kernels.reference.kv_blocks import hadamard
from support.int8_rounding import rounded_to_int8
from support.op_backends import (
    OTHER_BACKENDS,
    few_if_interpreted,
    load_ops,
)
from support.op_tolerances import ATTENTION_ROUNDED, LIMITS, assert_close, attention_limit
from support.stored_keys import (
    DTYPES,
    QUANTISED,
    arrays_of,
    break_number,
    copied,
    store,
    unreadable_pages,
)

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
PAGE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """q (M, H, D), the pages of one layer, and who sees what."""

    q: np.ndarray
    pages: KVPages
    visibility: Visibility
    scale: float

    def run(self, attention: object) -> np.ndarray:
        out = np.full_like(self.q, np.nan)
        result = attention(self.q, self.pages, self.visibility, scale=self.scale, out=out)
        assert result is out
        return out

    def rounded(self) -> "Case":
        """With the queries that meet quantised keys: scaled, then rounded to int8.

        For int4 between the transform that its keys went through and the way back.
        """
        q = self.q * np.float32(self.scale)
        if self.pages.dtype == "int4":
            q = hadamard(rounded_to_int8(hadamard(q, FROM_PAGES)), TO_PAGES)
        else:
            q = rounded_to_int8(q)
        return replace(self, q=q.astype(np.float32), scale=1.0)

    def linear(self, row: int) -> "Case":
        """Row `row` alone, the keys that it sees copied one after another to fresh pages."""
        v, size = self.visibility, self.pages.page_size
        s = v.sequences[row]
        new = np.flatnonzero(v.mask[row, : v.num_new[s]])
        seen = np.concatenate([np.arange(v.first_key[row], v.past[s]), v.past[s] + new])
        by, was, index = v.page_tables[s, seen // size], seen % size, np.arange(len(seen))
        to, at = index // size, index % size
        fresh = unreadable_like(self.pages, -(-len(seen) // size))
        for name, array in arrays_of(self.pages).items():
            if name.startswith("key"):
                getattr(fresh, name)[to, :, :, at] = array[by, :, :, was]
            else:
                getattr(fresh, name)[to, :, at] = array[by, :, was]
        return replace(
            self,
            q=self.q[row : row + 1].copy(),
            pages=fresh,
            visibility=one_row(len(seen), size),
        )

    def only_sequence(self, s: int) -> "Case":
        """The rows of sequence s alone."""
        v = self.visibility
        rows = v.sequences == s
        return replace(
            self,
            q=self.q[rows],
            visibility=Visibility(
                sequences=np.zeros(rows.sum(), np.int32),
                page_tables=v.page_tables[s : s + 1],
                past=v.past[s : s + 1],
                first_key=v.first_key[rows],
                mask=v.mask[rows],
                num_new=v.num_new[s : s + 1],
            ),
        )


def unreadable_like(pages: KVPages, num_pages: int) -> KVPages:
    return unreadable_pages(
        num_pages=num_pages,
        num_heads=pages.num_heads,
        head_size=pages.head_size,
        page_size=pages.page_size,
        dtype=pages.dtype,
    )


def one_row(num_keys: int, page_size: int = PAGE) -> Visibility:
    """The last row of one sequence of `num_keys`, in pages 0, 1, ..."""
    return Visibility(
        sequences=np.zeros(1, np.int32),
        page_tables=np.arange(-(-num_keys // page_size), dtype=np.int32)[None],
        past=np.array([num_keys - 1], np.int32),
        first_key=np.zeros(1, np.int32),
        mask=np.ones((1, 1), bool),
        num_new=np.ones(1, np.int32),
    )


def tree_mask(num_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Ancestors in a random tree, (num_rows, num_rows)."""
    mask = np.eye(num_rows, dtype=bool)
    for row in range(1, num_rows):
        parent = rng.integers(-1, row)
        if parent >= 0:
            mask[row] |= mask[parent]
    return mask


def make_case(
    *,
    heads: tuple[int, int, int],
    sequences: tuple[tuple[int, int], ...],
    dtype: str,
    page_size: int = PAGE,
    hiding: bool = False,
    linear: bool = False,
) -> Case:
    """heads : of queries, of keys and values, and their size.

    sequences : (committed keys, new rows) of each; the new rows are a random tree, or `linear`
    `hiding` hides some keys from each row, as a window does. What no row may read is NaN.
    """
    num_heads, num_kv_heads, head_size = heads
    rng = np.random.default_rng(num_heads * head_size)
    most_new = max(new for _, new in sequences)
    most_pages = max(-(-(past + new) // page_size) for past, new in sequences)
    num_pages = len(sequences) * most_pages
    page_tables = rng.permutation(num_pages).reshape(-1, most_pages).astype(np.int32)
    pages = unreadable_pages(
        num_pages=num_pages,
        num_heads=num_kv_heads,
        head_size=head_size,
        page_size=page_size,
        dtype=dtype,
    )
    owners, first_key, masks = [], [], []
    for s, (past, new) in enumerate(sequences):
        index = np.arange(past + new)
        shape = (2, past + new, num_kv_heads, head_size)
        keys, values = rng.standard_normal(shape).astype(np.float32)
        store(pages, keys, values, page_tables[s, index // page_size], index % page_size)
        mask = np.zeros((new, most_new), bool)
        mask[:, :new] = np.tri(new, dtype=bool) if linear else tree_mask(new, rng)
        if hiding:
            mask[:, :new] &= (rng.random((new, new)) < 0.7) | np.eye(new, dtype=bool)
        masks.append(mask)
        owners += [s] * new
        first_key += rng.integers(0, past + 1, new).tolist() if hiding else [0] * new
    return Case(
        q=rng.standard_normal((len(owners), num_heads, head_size)).astype(np.float32),
        pages=pages,
        visibility=Visibility(
            sequences=np.array(owners, np.int32),
            page_tables=page_tables,
            past=np.array([past for past, _ in sequences], np.int32),
            first_key=np.array(first_key, np.int32),
            mask=np.vstack(masks),
            num_new=np.array([new for _, new in sequences], np.int32),
        ),
        scale=head_size**-0.5,
    )


IN_BLOCKS = [(1, 1, 32), (4, 4, 32), (8, 2, 64), (9, 3, 64), (6, 1, 96), (5, 1, 128), (4, 1, 256)]
HEADS = {
    "float16": [(1, 1, 16), (4, 4, 32), (8, 2, 64), (9, 3, 64), (6, 1, 40), (2, 1, 7), (4, 1, 256)],
    "int8": IN_BLOCKS,
    "int4": IN_BLOCKS,
}
KINDS = [(dtype, heads) for dtype in DTYPES for heads in HEADS[dtype]]
PAGE_SIZES = (16, 48, 64)
MASKS = ((False, False), (False, True), (True, False), (True, True))  # hiding, linear
SEQUENCES = {
    "one key": ((0, 1),),
    "decode at a page's end": ((PAGE - 1, 1),),
    "decode at a page's start": ((PAGE, 1),),
    "decode at a large page's end": ((63, 1),),
    "decode at a large page's start": ((64, 1),),
    "prompt": ((0, 3 * PAGE + 1),),
    "tree": ((37, 13),),
    "long": ((600, 2),),
    "many": ((0, 1), (5, 4), (PAGE, 1), (100, 7), (2 * PAGE - 1, 2)),
}


@pytest.mark.parametrize("sequences", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize(("dtype", "heads"), KINDS, ids=str)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_agrees_with_the_reference(
    backend: str,
    dtype: str,
    heads: tuple[int, int, int],
    sequences: tuple[tuple[int, int], ...],
) -> None:
    """With quantised keys also, and closely, with the reference for queries in int8."""
    ops = load_ops(backend)
    for page_size in few_if_interpreted(backend, PAGE_SIZES, PAGE_SIZES[1:2]):
        for hiding, linear in few_if_interpreted(backend, MASKS, MASKS[2:]):
            case = make_case(
                heads=heads,
                sequences=sequences,
                dtype=dtype,
                page_size=page_size,
                hiding=hiding,
                linear=linear,
            )
            what = f"pages of {page_size}, hiding {hiding}, linear {linear}"
            if dtype in QUANTISED:
                want = case.rounded().run(reference.attention)
                assert_close(case.run(ops.attention), want, ATTENTION_ROUNDED, what)
                case = replace(case, scale=case.scale / 4)
            want = case.run(reference.attention)
            assert_close(case.run(ops.attention), want, attention_limit(dtype), what)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize(("dtype", "heads"), KINDS, ids=str)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_row_has_the_bits_of_the_linear_row(
    backend: str, dtype: str, heads: tuple[int, int, int], page_size: int
) -> None:
    """Unseen keys, other rows, other sequences and where the pages lie change nothing.

    On a GPU no more than the order of a sum: matrix units add neighbouring keys in one step.
    """
    ops = load_ops(backend)
    for hiding in few_if_interpreted(backend, (False, True), (True,)):
        case = make_case(
            heads=heads,
            sequences=SEQUENCES["many"],
            dtype=dtype,
            page_size=page_size,
            hiding=hiding,
        )
        whole = case.run(ops.attention)
        for row in range(len(whole)):
            got = case.linear(row).run(ops.attention)[0]
            if backend == "triton":
                assert_close(got, whole[row], LIMITS["attention"], f"row {row}")
            else:
                np.testing.assert_array_equal(got, whole[row])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_other_rows_change_no_bit(backend: str, dtype: str) -> None:
    """Neither other sequences nor other queries of the same one."""
    ops = load_ops(backend)
    case = make_case(
        heads=(6, 2, 64), sequences=((140, 4), (5, 3), (200, 2)), dtype=dtype, hiding=True
    )
    whole = case.run(ops.attention)
    for s in range(3):
        got = case.only_sequence(s).run(ops.attention)
        np.testing.assert_array_equal(got, whole[case.visibility.sequences == s])
    others = replace(case, q=-3 * case.q)
    others.q[2] = case.q[2]
    np.testing.assert_array_equal(others.run(ops.attention)[2], whole[2])


@pytest.mark.parametrize("num_rows", [13, 45])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_prompt_has_the_bits_of_its_tokens_one_by_one(
    backend: str, dtype: str, num_rows: int
) -> None:
    """Also where later rows of the step are stored already and must not be seen."""
    ops = load_ops(backend)
    case = make_case(heads=(4, 2, 64), sequences=((120, num_rows),), dtype=dtype, linear=True)
    whole = case.run(ops.attention)
    v = case.visibility
    for row in few_if_interpreted(backend, range(num_rows), range(0, num_rows, 4)):
        alone = replace(
            case,
            q=case.q[row : row + 1].copy(),
            visibility=replace(
                v,
                sequences=v.sequences[:1],
                past=v.past + np.int32(row),
                first_key=v.first_key[:1],
                mask=np.ones((1, 1), bool),
                num_new=np.ones(1, np.int32),
            ),
        )
        got = alone.run(ops.attention)[0]
        if backend == "triton" and num_rows > 16:  # which sums in another order
            assert_close(got, whole[row], LIMITS["attention"])
        else:
            np.testing.assert_array_equal(got, whole[row])


def simple_case(scores: list[float], dtype: str = "float16") -> Case:
    """One row and one head whose scores are these; value j is j + 1 in all dimensions."""
    index = np.arange(len(scores))
    keys = np.zeros((len(scores), 1, 32), np.float32)
    values = np.zeros_like(keys)
    keys[:, 0, 0] = scores
    values[...] = (index + 1)[:, None, None]
    pages = unreadable_pages(
        num_pages=-(-len(scores) // PAGE), num_heads=1, head_size=32, page_size=PAGE, dtype=dtype
    )
    with np.errstate(invalid="ignore"):
        store(pages, keys, values, index // PAGE, index % PAGE)
    q = np.zeros((1, 1, 32), np.float32)
    q[..., 0] = 1
    return Case(q=q, pages=pages, visibility=one_row(len(scores)), scale=1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize(
    ("scores", "want"),
    [
        ([5.0], 1.0),
        ([0.0] * 33, 17.0),
        ([60_000.0, -60_000.0, 0.0], 1.0),
        ([-60_000.0, -60_000.0, -60_000.0, -59_000.0], 4.0),
        ([-60_000.0] * 20, 10.5),
        ([0.0, np.log(3.0)], 1.75),
    ],
)
def test_softmax_at_the_ends(backend: str, scores: list[float], want: float, dtype: str) -> None:
    got = simple_case(scores, dtype).run(load_ops(backend).attention)
    np.testing.assert_allclose(got, want, rtol=1e-3)  # the scores are float16


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["keys", "values", "q"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_broken_number_shows_in_the_rows_that_see_it(
    backend: str, dtype: str, what: str, poison: float
) -> None:
    """A model that overflows must not go on with numbers that look sound."""
    ops = load_ops(backend)
    case = make_case(heads=(2, 1, 32), sequences=((20, 3), (5, 2)), dtype=dtype)
    whole = case.run(ops.attention)
    broken = replace(case, q=case.q.copy(), pages=copied(case.pages))
    if what == "q":
        broken.q[1, :, 7] = poison
        hit = [1]
    else:
        page = case.visibility.page_tables[0, 3 // PAGE]
        break_number(broken.pages, what, page, 3 % PAGE, 7, poison)
        hit = [0, 1, 2]
    got = broken.run(ops.attention)
    sound = [row for row in range(len(got)) if row not in hit]
    np.testing.assert_array_equal(got[sound], whole[sound])
    if what == "keys" and np.isinf(poison):
        return  # a score of minus infinity is a weight of nothing: see the next test
    assert all(not np.isfinite(got[row]).all() for row in hit)


@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_an_infinite_key_is_as_in_the_reference(backend: str) -> None:
    """Its score is infinite: plus infinity makes NaN, minus infinity takes the key away."""
    ops = load_ops(backend)
    for score, sound in ((np.inf, False), (-np.inf, True)):
        case = simple_case([1.0, score, 2.0])
        with np.errstate(invalid="ignore"):
            want = case.run(reference.attention)
        got = case.run(ops.attention)
        assert np.isfinite(got).all() == np.isfinite(want).all() == sound
        if sound:
            assert_close(got, want, LIMITS["attention"])


@pytest.mark.parametrize("score", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", QUANTISED)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_broken_quantised_key_makes_nan(backend: str, dtype: str, score: float) -> None:
    """Its scale is no number, and neither is 0 times infinity."""
    case = simple_case([1.0, score, 2.0], dtype)
    with np.errstate(invalid="ignore"):
        assert np.isnan(case.run(load_ops(backend).attention)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_attention_refuses_wrong_shapes(backend: str, dtype: str) -> None:
    attention = load_ops(backend).attention
    case = make_case(heads=(4, 2, 32), sequences=((3, 2),), dtype=dtype)
    for each in (
        replace(case, q=case.q[:1].copy()),
        replace(case, q=case.q[:, :, :8].copy()),
        replace(case, q=case.q[:, :3].copy()),
        replace(case, q=case.q.astype(np.float64)),
    ):
        with pytest.raises(ShapeError):
            each.run(attention)
    with pytest.raises(ShapeError, match="out"):
        case.run(lambda *given, out, **options: attention(*given, out=out[:1], **options))


def test_compiled_attention_refuses_pages_of_other_sizes() -> None:
    case = make_case(heads=(1, 1, 32), sequences=((3, 2),), dtype="float16", page_size=24)
    with pytest.raises(ShapeError, match="page size"):
        case.run(load_ops("numba").attention)
