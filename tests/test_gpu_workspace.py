"""What plans count for attention on a GPU is what it takes."""

import pytest

from slipstream.runtime import model_parts

pytestmark = pytest.mark.gpu


def test_plans_know_how_attention_shares_out_keys() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    from slipstream.gpu_kernels.attention import KEYS_A_PART, SMALL_STEP_ROWS

    assert (model_parts.SMALL_STEP_ROWS, model_parts.KEYS_A_PART) == (SMALL_STEP_ROWS, KEYS_A_PART)
