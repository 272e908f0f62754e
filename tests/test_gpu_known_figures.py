"""What the runtime knows of the GPU's kernels without importing them is so."""

from bisect import bisect_left

import pytest

from slipstream.runtime.planning import parts_of_files
from slipstream.runtime.warm_up_rows import WARM_UP_ROWS

pytestmark = pytest.mark.gpu


def test_plans_know_how_attention_shares_out_keys() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    from slipstream.gpu_kernels.attention import KEYS_A_PART, SMALL_STEP_ROWS

    assert (parts_of_files.SMALL_STEP_ROWS, parts_of_files.KEYS_A_PART) == (
        SMALL_STEP_ROWS,
        KEYS_A_PART,
    )


def test_a_warm_up_has_a_step_of_each_class_of_rows() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    from slipstream.gpu_kernels.launch_shapes import ROW_LIMITS

    classes = [bisect_left(ROW_LIMITS, rows) for rows in WARM_UP_ROWS]
    assert set(classes) == set(range(len(ROW_LIMITS) + 1))
