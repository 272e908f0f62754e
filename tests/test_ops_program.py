"""Ops that were captured run with their program, and nothing else is captured."""

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, RmsNorm
from support.op_backends import load_ops


def test_a_program_runs_its_ops_again_on_the_same_arrays() -> None:
    ops = load_ops("numba")
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (40, QuantType.Q8_0.row_bytes(64)), dtype=np.uint8)
    raw.reshape(40, 2, 34)[:, :, 1] = 0x24  # scales that are small numbers
    weight = ops.pack_weight(raw, QuantType.Q8_0, 64)
    x, out = rng.standard_normal((3, 64)).astype(np.float32), np.zeros((3, 40), np.float32)

    with ops.capturing() as program:
        ops.matmul(x, weight, out=out)
        ops.matmul(x, weight, accumulate=True, out=out)
    x[...] = rng.standard_normal(x.shape)
    want = ops.matmul(x, weight, out=np.zeros_like(out)) * 2
    weight = None  # the program keeps it
    program.run()
    np.testing.assert_array_equal(out, want)


def test_a_capture_ends_with_an_error() -> None:
    ops = load_ops("numba")
    with pytest.raises(ZeroDivisionError), ops.capturing():
        raise ZeroDivisionError
    out, norm = np.zeros((1, 4), np.float32), RmsNorm(weight=np.ones(4, np.float32), eps=1e-6)
    ops.rms_norm(np.ones((1, 4), np.float32), norm, out=out)
    assert out.any()  # it ran


def test_a_program_can_be_part_of_another() -> None:
    ops = load_ops("numba")
    x, norm = np.ones((1, 4), np.float32), RmsNorm(weight=np.ones(4, np.float32), eps=1e-6)
    outs = [np.zeros((1, 4), np.float32) for _ in range(4)]

    with ops.capturing() as outer:
        ops.rms_norm(x, norm, out=outs[0])
        with ops.capturing() as inner:
            ops.rms_norm(x, norm, out=outs[1])
        inner.run()
        with ops.capturing():
            ops.rms_norm(x, norm, out=outs[3])
        ops.rms_norm(x, norm, out=outs[2])
    assert not any(out.any() for out in outs)  # nothing has run
    for program, written in ((inner, (1,)), (outer, (0, 1, 2))):
        for out in outs:
            out[...] = 0
        program.run()
        assert [i for i, out in enumerate(outs) if out.any()] == list(written)
