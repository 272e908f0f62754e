"""Attention of every backend against the reference."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from slipstream.cpu_kernels import ShapeError, Visibility, reference
from support.op_backends import OTHER_BACKENDS, load_ops
from support.op_tolerances import LIMITS, assert_close

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
PAGE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """q (M, H, D), the pages of one layer, and who sees what.

    keys, values : (P, K, PAGE, D); a backend gets the keys transposed
    """

    q: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    visibility: Visibility
    scale: float

    def run(self, attention: object) -> np.ndarray:
        out = np.full_like(self.q, np.nan)
        keys = np.ascontiguousarray(self.keys.swapaxes(2, 3))
        result = attention(self.q, keys, self.values, self.visibility, scale=self.scale, out=out)
        assert result is out
        return out

    def linear(self, row: int) -> "Case":
        """Row `row` alone, the keys that it sees copied one after another to fresh pages."""
        v = self.visibility
        s = v.sequences[row]
        new = np.flatnonzero(v.mask[row, : v.num_new[s]])
        seen = np.concatenate([np.arange(v.first_key[row], v.past[s]), v.past[s] + new])
        pages, offsets = v.page_tables[s, seen // PAGE], seen % PAGE
        num_pages = -(-len(seen) // PAGE)
        copies = []
        for array in (self.keys, self.values):
            copy = np.zeros((num_pages, *array.shape[1:]), np.float16)
            index = np.arange(len(seen))
            copy[index // PAGE, :, index % PAGE] = array[pages, :, offsets]
            copies.append(copy)
        return replace(
            self,
            q=self.q[row : row + 1].copy(),
            keys=copies[0],
            values=copies[1],
            visibility=one_row(len(seen)),
        )


def one_row(num_keys: int) -> Visibility:
    """The last row of one sequence of `num_keys`, in pages 0, 1, ..."""
    return Visibility(
        sequences=np.zeros(1, np.int32),
        page_tables=np.arange(-(-num_keys // PAGE), dtype=np.int32)[None],
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
    num_heads: int,
    num_kv_heads: int,
    head_size: int,
    sequences: tuple[tuple[int, int], ...],
    hiding: bool = False,
) -> Case:
    """sequences : (committed keys, new rows) of each; the new rows are a random tree.

    `hiding` hides some keys from each row, as a window does. What no row may read is NaN.
    """
    rng = np.random.default_rng(num_heads * head_size)
    most_new = max(new for _, new in sequences)
    most_pages = max(-(-(past + new) // PAGE) for past, new in sequences)
    num_pages = len(sequences) * most_pages
    page_tables = rng.permutation(num_pages).reshape(-1, most_pages).astype(np.int32)
    shape = (num_pages, num_kv_heads, PAGE, head_size)
    keys, values = np.full(shape, np.nan, np.float16), np.full(shape, np.nan, np.float16)
    owners, first_key, masks = [], [], []
    for s, (past, new) in enumerate(sequences):
        index = np.arange(past + new)
        pages, offsets = page_tables[s, index // PAGE], index % PAGE
        for array in (keys, values):
            array[pages, :, offsets] = rng.standard_normal((past + new, num_kv_heads, head_size))
        mask = np.zeros((new, most_new), bool)
        mask[:, :new] = tree_mask(new, rng)
        if hiding:
            mask[:, :new] &= (rng.random((new, new)) < 0.7) | np.eye(new, dtype=bool)
        masks.append(mask)
        owners += [s] * new
        first_key += rng.integers(0, past + 1, new).tolist() if hiding else [0] * new
    return Case(
        q=rng.standard_normal((len(owners), num_heads, head_size)).astype(np.float32),
        keys=keys,
        values=values,
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


HEADS = [(1, 1, 16), (4, 4, 32), (8, 2, 64), (9, 3, 64), (6, 1, 40), (2, 1, 7), (4, 1, 256)]
SEQUENCES = {
    "one key": ((0, 1),),
    "decode at a page's end": ((PAGE - 1, 1),),
    "decode at a page's start": ((PAGE, 1),),
    "prompt": ((0, 3 * PAGE + 1),),
    "tree": ((37, 13),),
    "long": ((600, 2),),
    "many": ((0, 1), (5, 4), (PAGE, 1), (100, 7), (2 * PAGE - 1, 2)),
}


@pytest.mark.parametrize("sequences", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_agrees_with_the_reference(
    backend: str, heads: tuple[int, int, int], sequences: tuple[tuple[int, int], ...]
) -> None:
    ops = load_ops(backend)
    for hiding in (False, True):
        case = make_case(
            num_heads=heads[0],
            num_kv_heads=heads[1],
            head_size=heads[2],
            sequences=sequences,
            hiding=hiding,
        )
        got = case.run(ops.attention)
        assert_close(got, case.run(reference.attention), LIMITS["attention"], f"hiding {hiding}")


@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_row_has_the_bits_of_the_linear_row(backend: str, heads: tuple[int, int, int]) -> None:
    """Unseen keys, other rows, other sequences and where the pages lie change nothing."""
    ops = load_ops(backend)
    for hiding in (False, True):
        case = make_case(
            num_heads=heads[0],
            num_kv_heads=heads[1],
            head_size=heads[2],
            sequences=SEQUENCES["many"],
            hiding=hiding,
        )
        whole = case.run(ops.attention)
        for row in range(len(whole)):
            np.testing.assert_array_equal(case.linear(row).run(ops.attention)[0], whole[row])


def simple_case(scores: list[float], num_keys: int | None = None) -> Case:
    """One row and one head whose scores are these; value j is j + 1 in all dimensions."""
    num_keys = num_keys or len(scores)
    keys = np.zeros((-(-num_keys // PAGE), 1, PAGE, 16), np.float16)
    values = np.zeros_like(keys)
    index = np.arange(num_keys)
    keys[index // PAGE, 0, index % PAGE, 0] = scores
    values[index // PAGE, 0, index % PAGE] = (index + 1)[:, None]
    q = np.zeros((1, 1, 16), np.float32)
    q[..., 0] = 1
    return Case(q=q, keys=keys, values=values, visibility=one_row(num_keys), scale=1.0)


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
def test_softmax_at_the_ends(backend: str, scores: list[float], want: float) -> None:
    got = simple_case(scores).run(load_ops(backend).attention)
    np.testing.assert_allclose(got, want, rtol=1e-3)  # the scores are float16


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["keys", "values", "q"])
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_broken_number_shows_in_the_rows_that_see_it(
    backend: str, what: str, poison: float
) -> None:
    """A model that overflows must not go on with numbers that look sound."""
    ops = load_ops(backend)
    case = make_case(num_heads=2, num_kv_heads=1, head_size=32, sequences=((20, 3), (5, 2)))
    whole = case.run(ops.attention)
    broken = replace(case, **{what: getattr(case, what).copy()})
    if what == "q":
        broken.q[1, :, 7] = poison
        hit = [1]
    else:
        page = case.visibility.page_tables[0, 3 // PAGE]
        getattr(broken, what)[page, 0, 3 % PAGE, 7] = poison
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


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_attention_refuses_wrong_shapes(backend: str) -> None:
    attention = load_ops(backend).attention
    case = make_case(num_heads=4, num_kv_heads=2, head_size=16, sequences=((3, 2),))
    wrong = [
        replace(case, q=case.q[:1].copy()),
        replace(case, q=case.q[:, :, :8].copy()),
        replace(case, q=case.q[:, :3].copy()),
        replace(case, values=case.values[:, :1].copy()),
        replace(case, keys=case.keys.astype(np.float32), values=case.values.astype(np.float32)),
    ]
    for each in wrong:
        with pytest.raises(ShapeError):
            each.run(attention)
    with pytest.raises(ShapeError, match="out"):
        case.run(lambda *given, out, **options: attention(*given, out=out[:1], **options))
