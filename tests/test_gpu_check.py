"""A GPU whose ops give something else than the CPU's is found out."""

from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType

pytestmark = pytest.mark.gpu
TYPES = ("Q4_K", "Q8_0", "F16")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "triton"):
        pytest.importorskip(package, reason=f"{package} is not installed: it is in slipstream[gpu]")
    monkeypatch.setattr("slipstream.offload.profile.gpu_check._NUM_ROWS", (1, 20))


def test_this_one_computes_what_the_cpu_computes() -> None:
    from slipstream.offload.profile.gpu_check import check

    with np.errstate(all="ignore"):  # of what memory holds that no row sees
        check([each.name for each in QuantType])


@pytest.mark.parametrize(
    ("op", "factor"),
    [("matmul", 1.05), ("attention", 1.05), ("rotate_and_store", 1.05), ("attention", np.nan)],
)
def test_one_that_is_5_percent_off_is_refused(
    op: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slipstream import gpu_kernels
    from slipstream.offload.profile.gpu_access import GpuMismatchError
    from slipstream.offload.profile.gpu_check import check

    right = getattr(gpu_kernels, op)

    def wrong(*given: Any, **named: Any) -> Any:
        right(*given, **named)
        named["out"] *= factor
        return named["out"]

    monkeypatch.setattr(gpu_kernels, op, wrong)
    what = "a product of 1 rows with Q4_K" if op == "matmul" else "attention of"
    with np.errstate(all="ignore"), pytest.raises(GpuMismatchError, match=what):
        check(TYPES)
