"""What compiled ops would misread by address is refused: dtypes, layouts, places out of reach."""

from dataclasses import replace

import numpy as np
import pytest

from slipstream.cpu_kernels import KVPages, RmsNorm, ShapeError, Visibility
from support.op_backends import CPU_BACKENDS, OTHER_BACKENDS, load_ops

ALL_BACKENDS = ("reference", *OTHER_BACKENDS)
PAGES = KVPages.empty(num_pages=3, num_heads=1, head_size=32, page_size=16, dtype="float16")
SEEN = Visibility(
    sequences=np.zeros(2, np.int32),
    page_tables=np.array([[2, 0]], np.int32),
    past=np.array([20], np.int32),
    first_key=np.zeros(2, np.int32),
    mask=np.tril(np.ones((2, 2), np.bool_)),
    num_new=np.array([2], np.int32),
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page_tables", SEEN.page_tables.astype(np.int64)),
        ("page_tables", np.array([[2, 9, 0, 9]], np.int32)[:, ::2]),
        ("past", np.zeros(0, np.int32)),
        ("past", SEEN.past.astype(np.int64)),
        ("first_key", SEEN.first_key.astype(np.int64)),
        ("first_key", np.zeros(1, np.int32)),
        ("mask", SEEN.mask.astype(np.int32)),
        ("mask", np.asfortranarray(SEEN.mask)),
        ("mask", SEEN.mask[:1].copy()),
    ],
)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_attention_refuses_what_it_would_misread(
    backend: str, name: str, value: np.ndarray
) -> None:
    attend_to(backend, name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page_tables", np.array([[2, 3]], np.int32)),
        ("page_tables", np.array([[-1, 0]], np.int32)),
        ("page_tables", SEEN.page_tables[:, :1].copy()),
        ("past", np.array([31], np.int32)),
        ("past", np.array([-1], np.int32)),
        ("num_new", np.array([3], np.int32)),
        ("num_new", np.array([1], np.int32)),
    ],
)
@pytest.mark.parametrize("backend", ["reference", *CPU_BACKENDS])
def test_attention_refuses_places_out_of_reach(backend: str, name: str, value: np.ndarray) -> None:
    """Where the numbers lie in host memory; to look at a GPU's would be to wait for it."""
    attend_to(backend, name, value)


def attend_to(backend: str, name: str, value: np.ndarray) -> None:
    q = np.zeros((2, 2, 32), np.float32)
    with pytest.raises(ShapeError):
        load_ops(backend).attention(
            q, PAGES, replace(SEEN, **{name: value}), scale=1.0, out=np.empty_like(q)
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cos", np.ones((2, 16))),
        ("cos", np.ones((16, 2), np.float32).T),
        ("sin", np.ones((2, 8), np.float32)),
        ("page_ids", np.zeros(2, np.int64)),
        ("offsets", np.array([0, 9, 1, 9], np.int32)[::2]),
        ("query_norm", RmsNorm(weight=np.ones(32), eps=1e-6)),
        ("key_norm", RmsNorm(weight=np.ones(16, np.float32), eps=1e-6)),
    ],
)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_rotate_and_store_refuses_what_it_would_misread(
    backend: str, name: str, value: object
) -> None:
    rotate(backend, name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("page_ids", np.array([0, 3], np.int32)), ("offsets", np.array([0, 16], np.int32))],
)
@pytest.mark.parametrize("backend", ["reference", *CPU_BACKENDS])
def test_rotate_and_store_refuses_places_out_of_reach(
    backend: str, name: str, value: np.ndarray
) -> None:
    rotate(backend, name, value)


def rotate(backend: str, name: str, value: object) -> None:
    angles = np.ones((2, 16), np.float32)
    given = {
        "qkv": np.zeros((2, 96), np.float32),
        "cos": angles,
        "sin": angles,
        "page_ids": np.zeros(2, np.int32),
        "offsets": np.arange(2, dtype=np.int32),
        "query_norm": None,
        "key_norm": None,
    } | {name: value}
    arrays = [given.pop(each) for each in ("qkv", "cos", "sin", "page_ids", "offsets")]
    with pytest.raises(ShapeError):
        load_ops(backend).rotate_and_store(
            *arrays,
            interleaved=False,
            pages=PAGES,
            out=np.empty((2, 1, 32), np.float32),
            **given,
        )


def test_a_read_only_output_is_refused() -> None:
    ops = load_ops("numba")
    out = np.zeros((1, 4), np.float32)
    out.flags.writeable = False
    norm = RmsNorm(weight=np.ones(4, np.float32), eps=1e-6)
    with pytest.raises(ShapeError, match="read-only"):
        ops.rms_norm(np.ones((1, 4), np.float32), norm, out=out)
    assert not out.any()
